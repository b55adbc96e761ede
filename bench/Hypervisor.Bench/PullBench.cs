using Hypervisor.Protocol.V1;
using Hypervisor.TestCluster;

namespace Hypervisor.Bench;

/// <summary>
/// An image of ten layers, 500 MB unpacked, from a registry on loopback: from CreateInstance until RUNNING, so looking it up and
/// starting a container included, against <c>ctr image pull</c> of the same with the same containerd, which ends once it is
/// unpacked. One of each in turn, who goes first in turn as well; before each nothing of the image is there.
/// </summary>
internal static class PullBench
{
    private const int Layers = 10;
    private const int BytesPerLayer = 50_000_000;
    private const int FilesPerLayer = 50;
    private const int Rounds = 4;
    private const int Port = 5000;
    private const string Image = "localhost:5000/bench:1";
    private const string PeerNamespace = "peer";

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
        await ImageLayout.WriteAsync(layout, [.. Enumerable.Repeat(new ImageLayer(BytesPerLayer, FilesPerLayer), Layers)]);
        await registry.PushAsync($"oci:{layout}:{ImageLayout.Name}", "bench:1");
        Directory.Delete(layout, recursive: true);

        List<double> ours = [], theirs = [];
        for (var round = 0; round <= Rounds; round++)
        {
            // What the first leaves behind, in the page cache or to be written back, is not the second's alone to bear.
            var (own, other) = (0.0, 0.0);
            if (round % 2 == 0)
            {
                own = await OwnAsync(cluster, $"round-{round}");
                other = await OtherAsync(cluster);
            }
            else
            {
                other = await OtherAsync(cluster);
                own = await OwnAsync(cluster, $"round-{round}");
            }

            // The first pair warms registry, page cache and code.
            Metric.Print($"pull.pair_{round}_ms", own, "ms");
            Metric.Print($"pull.pair_{round}_ctr_ms", other, "ms");
            if (round > 0)
            {
                ours.Add(own);
                theirs.Add(other);
            }
        }

        Metric.Print("pull.p50_ms", Metric.Median(ours), "ms");
        Metric.Print("pull.ctr_p50_ms", Metric.Median(theirs), "ms");
        Metric.Print("pull.ratio_ctr", Metric.Median(ours) / Metric.Median(theirs), "ratio");
    }

    private static async Task<double> OwnAsync(LocalCluster cluster, string name)
    {
        var taken = await Metric.TimeAsync(() => CreateAsync(cluster, name));
        await RequireUnpackedAsync(cluster, name);
        await ForgetAsync(cluster, name);
        return taken;
    }

    private static async Task<double> OtherAsync(LocalCluster cluster)
    {
        var taken = await Metric.TimeAsync(() => ContainerdAsync(cluster, PeerNamespace, "images", "pull", "--plain-http", "--snapshotter", "overlayfs", Image));
        await ContainerdAsync(cluster, PeerNamespace, "images", "rm", "--sync", Image);
        await ContainerdAsync(cluster, PeerNamespace, "content", "prune", "references");
        return taken;
    }

    private static async Task CreateAsync(LocalCluster cluster, string name)
    {
        await cluster.Compute.CreateInstanceAsync(
            new CreateInstanceRequest
            {
                Name = name,
                Spec = new InstanceSpec
                {
                    Type = InstanceType.Container,
                    Image = Image,
                    Process = new ProcessSpec { Command = { "/busybox", "sleep", "3600" } },
                    Stop = new StopSpec { Signal = "SIGKILL" },
                },
            },
            deadline: LocalCluster.Deadline(10));
        await cluster.InstanceAsync(name, "runs", instance => instance.Status.State == InstanceState.Running, 300);
    }

    /// <summary>What RUNNING claims is so: every layer was unpacked here and now.</summary>
    private static async Task RequireUnpackedAsync(LocalCluster cluster, string name)
    {
        var snapshots = await ContainerdAsync(cluster, cluster.Id, "snapshots", "list");
        if (snapshots.Split('\n').Count(line => line.Contains("sha256:", StringComparison.Ordinal) && line.Contains("Committed", StringComparison.Ordinal)) != Layers)
        {
            var instance = await cluster.Compute.GetInstanceAsync(new GetInstanceRequest { Instance = name }, deadline: LocalCluster.Deadline(5));
            throw new InvalidOperationException($"{name} runs without its layers: {instance}\n{snapshots}\n{cluster.Logs()}");
        }
    }

    /// <summary>The agent too forgets the image: it would otherwise notice its absence only when it makes the container.</summary>
    private static async Task ForgetAsync(LocalCluster cluster, string name)
    {
        await cluster.Compute.DeleteInstanceAsync(new DeleteInstanceRequest { Instance = name }, deadline: LocalCluster.Deadline(10));
        await RealTime.UntilAsync($"{name} is gone", TimeSpan.FromSeconds(30), async () =>
            (await cluster.Compute.ListInstancesAsync(new ListInstancesRequest(), deadline: LocalCluster.Deadline(5))).Instances.Count == 0);
        await cluster.Agent.StopAsync();
        foreach (var image in (await ContainerdAsync(cluster, cluster.Id, "images", "list", "-q")).Split('\n', StringSplitOptions.RemoveEmptyEntries))
        {
            await ContainerdAsync(cluster, cluster.Id, "images", "rm", "--sync", image);
        }

        // What is left would make the next pull look better than it is.
        var left = await ContainerdAsync(cluster, cluster.Id, "snapshots", "list") + await ContainerdAsync(cluster, cluster.Id, "content", "list", "-q");
        if (left.Contains("sha256:", StringComparison.Ordinal))
        {
            throw new InvalidOperationException($"The image is still there: {left}\n{await ContainerdAsync(cluster, cluster.Id, "leases", "list")}");
        }

        cluster.Agent.Start();
        await cluster.NodeReadyAsync();
    }

    private static async Task<string> ContainerdAsync(LocalCluster cluster, string containerdNamespace, params string[] arguments)
    {
        // Inside, because it is ctr itself that talks to the registry.
        var (exitCode, output, error) = await Shell.TryRunAsync(
            "nsenter",
            [$"--net={cluster.NetworkNamespace}", "--", "ctr", "--address", cluster.ContainerdSocket, "--namespace", containerdNamespace, .. arguments],
            TimeSpan.FromMinutes(5));
        return exitCode == 0 ? output : throw new InvalidOperationException($"ctr {string.Join(' ', arguments)} ended with {exitCode}: {error}{output}");
    }
}
