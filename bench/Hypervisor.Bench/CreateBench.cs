using Grpc.Core;
using Hypervisor.Protocol.V1;
using Hypervisor.TestCluster;

namespace Hypervisor.Bench;

/// <summary>
/// From the API call until a watcher sees RUNNING, with address and seccomp, against <c>ctr run -d</c> of the same image on the
/// same containerd (which gives neither), one of each in turn.
/// </summary>
internal static class CreateBench
{
    private const int Pairs = 50;
    private const int Warmups = 5;
    private const int Parallel = 30;
    private const int AtATime = 8;
    private const int ParallelRounds = 5;

    /// <summary>Thirty of them fit on a machine of two cores; one at a time has what the API gives without being asked.</summary>
    private static readonly Resources _small = new() { CpuMillicores = 60, MemoryBytes = 64 << 20 };

    public static async Task RunAsync()
    {
        await RunAsync(new LocalClusterOptions(), "create");
        await RunAsync(new LocalClusterOptions { ShimGroup = false }, "create.single_shims");
    }

    /// <summary>The same with a seccomp filter for 32-bit programs too, which is not the default.</summary>
    public static Task RunAllArchitecturesAsync() => RunAsync(new LocalClusterOptions { ForeignArchitectures = true }, "create.all_architectures");

    private static async Task RunAsync(LocalClusterOptions options, string prefix)
    {
        await using var cluster = await LocalCluster.StartAsync(options);
        await cluster.ImportBusyboxAsync();
        var peer = new Containerd(cluster);
        await using var watcher = await InstanceWatcher.StartAsync(cluster);

        // The first instance brings the image onto the node; both sides then use the same snapshots.
        await CreateAsync(cluster, watcher, "first");
        await DeleteAsync(cluster, "first");
        await peer.FindImageAsync();

        var ours = new List<double>();
        var theirs = new List<double>();
        for (var pair = 0; pair < Pairs + Warmups; pair++)
        {
            var name = $"pair-{pair}";
            var own = await Metric.TimeAsync(() => CreateAsync(cluster, watcher, name));
            await RequireAsRunningAsync(cluster, [name]);
            await DeleteAsync(cluster, name);
            var other = await Metric.TimeAsync(() => peer.RunAsync(name));
            await peer.RemoveAsync(name);
            if (pair >= Warmups)
            {
                ours.Add(own);
                theirs.Add(other);
            }
        }

        Metric.Print($"{prefix}.p50_ms", Metric.Median(ours), "ms");
        Metric.Print($"{prefix}.p99_ms", Metric.Percentile(ours, 0.99), "ms");
        Metric.Print($"{prefix}.ctr_p50_ms", Metric.Median(theirs), "ms");
        Metric.Print($"{prefix}.p50_ratio_ctr", Metric.Median(ours) / Metric.Median(theirs), "ratio");

        var ownRates = new List<double>();
        var otherRates = new List<double>();
        for (var round = 0; round < ParallelRounds; round++)
        {
            string[] names = [.. Enumerable.Range(0, Parallel).Select(index => $"par-{round}-{index}")];
            ownRates.Add(Parallel / await Metric.TimeAsync(() => EachAsync(names, name => CreateAsync(cluster, watcher, name, _small))) * 1000);
            await RequireAsRunningAsync(cluster, names);
            await EachAsync(names, name => DeleteAsync(cluster, name));
            otherRates.Add(Parallel / await Metric.TimeAsync(() => EachAsync(names, peer.RunAsync)) * 1000);
            await EachAsync(names, peer.RemoveAsync);
        }

        Metric.Print($"{prefix}.parallel_rate_per_s", Metric.Median(ownRates), "1/s");
        Metric.Print($"{prefix}.parallel_ctr_rate_per_s", Metric.Median(otherRates), "1/s");
        Metric.Print($"{prefix}.parallel_rate_ratio_ctr", Metric.Median(ownRates) / Metric.Median(otherRates), "ratio");
    }

    private static Task EachAsync(IEnumerable<string> names, Func<string, Task> action) =>
        System.Threading.Tasks.Parallel.ForEachAsync(
            names, new ParallelOptions { MaxDegreeOfParallelism = AtATime }, async (name, _) => await action(name));

    private static async Task CreateAsync(LocalCluster cluster, InstanceWatcher watcher, string name, Resources? resources = null)
    {
        var running = watcher.RunsAsync(name);
        await cluster.Compute.CreateInstanceAsync(
            new CreateInstanceRequest
            {
                Name = name,
                Spec = new InstanceSpec
                {
                    Type = InstanceType.Container,
                    Image = "busybox",
                    Resources = resources,
                    Process = new ProcessSpec { Command = { "sleep", "3600" } },
                    Stop = new StopSpec { Signal = "SIGKILL" },
                },
            },
            deadline: LocalCluster.Deadline(30));
        await running;
    }

    private static async Task DeleteAsync(LocalCluster cluster, string name)
    {
        await cluster.Compute.DeleteInstanceAsync(new DeleteInstanceRequest { Instance = name }, deadline: LocalCluster.Deadline(10));
        await RealTime.UntilAsync($"{name} is gone", TimeSpan.FromSeconds(30), async () =>
        {
            try
            {
                await cluster.Compute.GetInstanceAsync(new GetInstanceRequest { Instance = name }, deadline: LocalCluster.Deadline(5));
                return false;
            }
            catch (RpcException exception) when (exception.StatusCode == StatusCode.NotFound)
            {
                return true;
            }
        });
    }

    /// <summary>What RUNNING claims is so, of all that there are: for each a live process with a seccomp filter, and an address of its own.</summary>
    private static async Task RequireAsRunningAsync(LocalCluster cluster, string[] names)
    {
        var filtered = new Leftovers(cluster).InstanceProcesses()
            .Count(pid => File.ReadAllText($"/proc/{pid}/status").Contains("Seccomp:\t2", StringComparison.Ordinal));
        var addresses = new HashSet<string>(StringComparer.Ordinal);
        foreach (var name in names)
        {
            var instance = await cluster.Compute.GetInstanceAsync(new GetInstanceRequest { Instance = name }, deadline: LocalCluster.Deadline(5));
            if (instance.Status.State != InstanceState.Running || instance.Status.IpAddresses is not [var address, ..] || !addresses.Add(address))
            {
                throw new InvalidOperationException($"{name} was seen RUNNING and is not, or is without an address of its own: {instance}");
            }
        }

        if (filtered != names.Length)
        {
            throw new InvalidOperationException($"{names.Length} instances are RUNNING, and {filtered} processes of instances live under a seccomp filter");
        }
    }

    /// <summary>The peer: containerd's own command line on the same daemon, image and snapshotter.</summary>
    private sealed class Containerd(LocalCluster cluster)
    {
        private string _image = "";

        public async Task FindImageAsync() =>
            _image = (await new Leftovers(cluster).ContainerdAsync("images", "list", "-q")).Split('\n', StringSplitOptions.RemoveEmptyEntries)[0];

        public Task<double> RunAsync(string name) =>
            ProcessTimer.MillisecondsAsync("ctr", [.. Address, "run", "-d", _image, NameOf(name), "/bin/sleep", "3600"]);

        public async Task RemoveAsync(string name)
        {
            await Shell.RunAsync("ctr", [.. Address, "task", "kill", "-s", "KILL", NameOf(name)]);
            await RealTime.UntilAsync($"{NameOf(name)} stops", TimeSpan.FromSeconds(10), async () =>
                (await Shell.TryRunAsync("ctr", [.. Address, "task", "delete", NameOf(name)])).ExitCode == 0);
            await Shell.RunAsync("ctr", [.. Address, "container", "delete", NameOf(name)]);
        }

        /// <summary>runc keeps its records of all daemons in one folder: another run's, ended half way, must not be in the way.</summary>
        private string NameOf(string name) => $"ctr{cluster.CgroupParent.Replace('/', '-')}-{name}";

        private string[] Address => ["--address", cluster.ContainerdSocket, "--namespace", cluster.ContainerdNamespace];
    }
}
