using System.Security.Cryptography;
using Hypervisor.Agent.Drivers.Containerd;
using Hypervisor.Agent.Drivers.Containerd.Connection;
using Hypervisor.Agent.Guests.Disks;
using Hypervisor.Agent.Images;
using Hypervisor.Hosting.Randomness;
using Hypervisor.Protocol.V1;
using Hypervisor.TestCluster;
using Microsoft.Extensions.Logging.Abstractions;

namespace Hypervisor.Bench;

/// <summary>
/// An image of four layers, 400 MB unpacked in 10,300 files, that containerd holds: from asking for its root file system until that is
/// durable, by the agent's own code and the real mke2fs; and asking once more. A plain
/// write of as many bytes goes between.
/// </summary>
internal static class RootFileSystemBench
{
    private const int Rounds = 5;
    private const int Port = 5000;
    private const string Image = "localhost:5000/bench:1";

    private static readonly ImageLayer[] _layers = [new(150_000_000, 10_000), new(20_000_000, 200), new(120_000_000, 6), new(110_000_000, 94)];

    public static async Task RunAsync()
    {
        await using var cluster = await LocalCluster.StartAsync(new LocalClusterOptions
        {
            ServerYaml = """
                registries:
                  - {host: "localhost:5000", plain_http: true}
                """,
        });
        await using var registry = await LocalRegistry.StartAsync(cluster, Port);
        var layout = $"{cluster.Folder}/layout";
        await ImageLayout.WriteAsync(layout, _layers);
        await registry.PushAsync($"oci:{layout}:{ImageLayout.Name}", "bench:1");
        Directory.Delete(layout, recursive: true);
        await BringAsync(cluster);

        var clock = RealTime.Clock;
        var random = new SystemRandomSource();
        using var client = new ContainerdClient(new ContainerdOptions { SocketPath = cluster.ContainerdSocket, Namespace = cluster.ContainerdNamespace }, clock);
        var digest = (await client.Images.ListAsync(new Containerd.Services.Images.V1.ListImagesRequest(), client.Call(CancellationToken.None))).Images.Single().Target.Digest;
        var trees = new ContainerdImageTrees(client, new ImageStore(client), $"{cluster.RunFolder}/bench", clock, random);
        var megabytes = _layers.Sum(layer => layer.Bytes) / 1e6;
        List<double> rates = [], second = [], plain = [];
        for (var round = 0; round <= Rounds; round++)
        {
            var folder = $"{cluster.Folder}/rootfs-{round}";
            var files = new RootFileSystems(
                folder,
                trees,
                new RootFileSystemBuilder(new DiskTool(clock), clock),
                limit: 0,
                _ => Task.FromResult<IReadOnlySet<string>>(new HashSet<string>()),
                clock,
                random,
                NullLogger<RootFileSystems>.Instance);
            var first = await Metric.TimeAsync(() => files.EnsureAsync(digest, CancellationToken.None));
            var again = await Metric.TimeAsync(() => files.EnsureAsync(digest, CancellationToken.None));
            Directory.Delete(folder, recursive: true);
            var write = await Metric.TimeAsync(() => WriteAsync($"{cluster.Folder}/plain", _layers.Sum(layer => layer.Bytes)));

            // The first round warms the page cache and code.
            Metric.Print($"rootfs.round_{round}_ms", first, "ms");
            if (round > 0)
            {
                rates.Add(megabytes / (first / 1000));
                second.Add(again);
                plain.Add(megabytes / (write / 1000));
            }
        }

        Metric.Print("rootfs.mb_per_s", Metric.Median(rates), "MB/s");
        Metric.Print("rootfs.plain_write_mb_per_s", Metric.Median(plain), "MB/s");
        Metric.Print("rootfs.second_ms", Metric.Median(second), "ms");
    }

    /// <summary>As many bytes into one file, durably: what the machine's disk and other work leave to anyone at that time.</summary>
    private static async Task WriteAsync(string path, int bytes)
    {
        var block = new byte[1 << 20];
        RandomNumberGenerator.Fill(block);
        await using (var file = new FileStream(path, FileMode.CreateNew, FileAccess.Write, FileShare.None, bufferSize: 0))
        {
            for (var written = 0; written < bytes; written += block.Length)
            {
                await file.WriteAsync(block);
            }

            file.Flush(flushToDisk: true);
        }

        File.Delete(path);
    }

    /// <summary>Into containerd, as an agent brings images.</summary>
    private static async Task BringAsync(LocalCluster cluster)
    {
        await cluster.Compute.CreateInstanceAsync(
            new CreateInstanceRequest
            {
                Name = "holder",
                Spec = new InstanceSpec
                {
                    Type = InstanceType.Container,
                    Image = Image,
                    Process = new ProcessSpec { Command = { "/busybox", "sleep", "3600" } },
                    Stop = new StopSpec { Signal = "SIGKILL" },
                },
            },
            deadline: LocalCluster.Deadline(10));
        await cluster.InstanceAsync("holder", "runs", instance => instance.Status.State == InstanceState.Running, 300);
    }
}
