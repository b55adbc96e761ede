using System.Formats.Tar;
using System.IO.Compression;
using System.Security.Cryptography;
using System.Text.Json;
using Hypervisor.Protocol.V1;
using Hypervisor.TestCluster;

namespace Hypervisor.Bench;

/// <summary>
/// An image of ten layers, 500 MB unpacked, from a registry on loopback: from CreateInstance until RUNNING, so looking it up and
/// starting a container included, against <c>ctr image pull</c> of the same with the same containerd, which ends once it is
/// unpacked. One of each in turn; before each nothing of the image is there.
/// </summary>
internal static class PullBench
{
    private static readonly string[] _command = ["/busybox"];

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
        await ImageLayout.WriteAsync(layout, Layers, BytesPerLayer, FilesPerLayer);
        await registry.PushAsync($"oci:{layout}:bench", "bench:1");
        Directory.Delete(layout, recursive: true);

        List<double> ours = [], theirs = [];
        for (var round = 0; round <= Rounds; round++)
        {
            var own = await Metric.TimeAsync(() => CreateAsync(cluster, $"round-{round}"));
            await RequireUnpackedAsync(cluster, $"round-{round}");
            await ForgetAsync(cluster, $"round-{round}");
            var other = await Metric.TimeAsync(() => ContainerdAsync(cluster, PeerNamespace, "images", "pull", "--plain-http", "--snapshotter", "overlayfs", Image));
            await ContainerdAsync(cluster, PeerNamespace, "images", "rm", "--sync", Image);
            await ContainerdAsync(cluster, PeerNamespace, "content", "prune", "references");

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

    /// <summary>An image in the OCI layout whose content compresses to about a half, as programs do.</summary>
    private static class ImageLayout
    {
        private const string Prefix = "application/vnd.oci.image.";

        public static async Task WriteAsync(string folder, int layers, int bytesPerLayer, int filesPerLayer)
        {
            Directory.CreateDirectory($"{folder}/blobs/sha256");
            List<(string Digest, long Size)> blobs = [];
            List<string> diffIds = [];
            for (var layer = 0; layer < layers; layer++)
            {
                var tar = Tar(layer, bytesPerLayer, filesPerLayer);
                diffIds.Add(Digest(tar));
                using var packed = new MemoryStream();
                await using (var gzip = new GZipStream(packed, CompressionLevel.Optimal, leaveOpen: true))
                {
                    await gzip.WriteAsync(tar);
                }

                blobs.Add(await PutAsync(folder, packed.ToArray()));
            }

            var config = await PutAsync(folder, JsonSerializer.SerializeToUtf8Bytes(new
            {
                architecture = "amd64",
                os = "linux",
                config = new { Cmd = _command },
                rootfs = new { type = "layers", diff_ids = diffIds },
            }));
            var manifest = await PutAsync(folder, JsonSerializer.SerializeToUtf8Bytes(new
            {
                schemaVersion = 2,
                mediaType = Prefix + "manifest.v1+json",
                config = new { mediaType = Prefix + "config.v1+json", digest = config.Digest, size = config.Size },
                layers = blobs.Select(blob => new { mediaType = Prefix + "layer.v1.tar+gzip", digest = blob.Digest, size = blob.Size }),
            }));
            await File.WriteAllTextAsync($"{folder}/oci-layout", """{"imageLayoutVersion":"1.0.0"}""");
            await File.WriteAllBytesAsync($"{folder}/index.json", JsonSerializer.SerializeToUtf8Bytes(new
            {
                schemaVersion = 2,
                manifests = new[]
                {
                    new
                    {
                        mediaType = Prefix + "manifest.v1+json",
                        digest = manifest.Digest,
                        size = manifest.Size,
                        annotations = new Dictionary<string, string> { ["org.opencontainers.image.ref.name"] = "bench" },
                    },
                },
            }));
        }

        private static byte[] Tar(int layer, int bytes, int files)
        {
            using var stream = new MemoryStream(bytes + (1 << 20));
            using (var tar = new TarWriter(stream, leaveOpen: true))
            {
                if (layer == 0)
                {
                    tar.WriteEntry(Entry("busybox", File.ReadAllBytes("/bin/busybox"), (UnixFileMode)0x1ED));
                }

                for (var file = 0; file < files; file++)
                {
                    // Four of eight bits are free: about 2 to 1.
                    var content = RandomNumberGenerator.GetBytes(bytes / files);
                    for (var index = 0; index < content.Length; index++)
                    {
                        content[index] &= 0x0F;
                    }

                    tar.WriteEntry(Entry($"data/{layer}/{file}", content, (UnixFileMode)0x1A4));
                }
            }

            return stream.ToArray();
        }

        private static PaxTarEntry Entry(string name, byte[] content, UnixFileMode mode) =>
            new(TarEntryType.RegularFile, name) { DataStream = new MemoryStream(content), Mode = mode };

        private static async Task<(string Digest, long Size)> PutAsync(string folder, byte[] content)
        {
            var digest = Digest(content);
            await File.WriteAllBytesAsync($"{folder}/blobs/sha256/{digest[7..]}", content);
            return (digest, content.Length);
        }

        private static string Digest(byte[] content) => "sha256:" + Convert.ToHexStringLower(SHA256.HashData(content));
    }
}
