using System.Diagnostics;
using System.Globalization;
using Hypervisor.Protocol.V1;
using Hypervisor.TestCluster;

namespace Hypervisor.Bench;

/// <summary>
/// The peer: the very command line that the agent gave its VMM, with copies of the same disks, run without the agent. Its tap exists
/// already; nobody else makes anything for it.
/// </summary>
internal sealed class BareMicrovm : IBareGuests, IAsyncDisposable
{
    private const string Name = "like";

    private static readonly TimeSpan _boot = TimeSpan.FromSeconds(120);

    private readonly LocalCluster _cluster;
    private readonly string[] _arguments;
    private readonly string _runFolder;
    private readonly string _guestFolder;
    private readonly string _tap;
    private readonly List<RealProcess> _machines = [];
    private readonly string _scratch;

    private BareMicrovm(LocalCluster cluster, string[] arguments, string runFolder, string guestFolder, string tap, string scratch) =>
        (_cluster, _arguments, _runFolder, _guestFolder, _tap, _scratch) = (cluster, arguments, runFolder, guestFolder, tap, scratch);

    /// <summary>Makes one guest through the API, notes how it is run and keeps its disks as they were before its first start.</summary>
    public static async Task<BareMicrovm> LikeAsync(LocalCluster cluster, BenchGuests guests, Resources size)
    {
        await guests.FirstLineAsync(InstanceType.Microvm, Name, size);
        var uid = (await cluster.Compute.GetInstanceAsync(new GetInstanceRequest { Instance = Name }, deadline: LocalCluster.Deadline(5))).Metadata.Uid;
        var machine = new Leftovers(cluster).Machines().Single();
        var arguments = (await File.ReadAllTextAsync($"/proc/{machine}/cmdline")).Split('\0', StringSplitOptions.RemoveEmptyEntries);
        arguments[0] = (File.ResolveLinkTarget($"/proc/{machine}/exe", returnFinalTarget: true) ?? throw new InvalidOperationException("the VMM is gone")).FullName;
        await cluster.Compute.StopInstanceAsync(new StopInstanceRequest { Instance = Name }, deadline: LocalCluster.Deadline(10));
        await cluster.InstanceAsync(Name, "stops", instance => instance.Status.State == InstanceState.Stopped && instance.Status.Exit is not null);

        var scratch = Directory.CreateDirectory($"{cluster.Folder}/bare").FullName;
        var guestFolder = guests.FolderOf(InstanceType.Microvm, uid);
        await FreshDisks.KeepAsync(guestFolder, $"{scratch}/disks");
        await guests.DeleteAsync(Name);
        var tap = arguments.Single(argument => argument.StartsWith("tap,", StringComparison.Ordinal)).Split(',')
            .Single(part => part.StartsWith("ifname=", StringComparison.Ordinal))["ifname=".Length..];
        return new BareMicrovm(cluster, arguments, $"{cluster.RunFolder}/agent/m/{uid}", guestFolder, tap, scratch);
    }

    public async Task PrepareAsync(int count, long? millicores)
    {
        for (var index = 0; index < count; index++)
        {
            string[] within = millicores is { } limit ? ["sh", "-c", "echo $$ > \"$0\" && exec \"$@\"", MakeGroup(index, limit)] : [];
            await Shell.RunAsync("cp", "-a", "--sparse=always", $"{_scratch}/disks", DisksOf(index));
            File.Delete(ConsoleOf(index));
            Directory.CreateDirectory(SocketsOf(index));
            await Shell.RunAsync("ip", "-n", _cluster.Id, "tuntap", "add", "dev", TapOf(index), "mode", "tap");
            await Shell.RunAsync("ip", "-n", _cluster.Id, "link", "set", TapOf(index), "up");
            string[] line = [.. within, .. _arguments.Select(argument => argument
                .Replace(_runFolder, SocketsOf(index), StringComparison.Ordinal)
                .Replace(_guestFolder, DisksOf(index), StringComparison.Ordinal)
                .Replace($"ifname={_tap}", $"ifname={TapOf(index)}", StringComparison.Ordinal))];
            _machines.Add(_cluster.Inside($"bare-{index}", line[0], line[1..]));
        }
    }

    public async Task<double> FirstLinesAsync()
    {
        var started = Stopwatch.GetTimestamp();
        _machines.ForEach(machine => machine.Start());
        await Task.WhenAll(_machines.Select((_, index) => ConsoleFile.HasLineAsync(ConsoleOf(index), _boot)));
        return Stopwatch.GetElapsedTime(started).TotalMilliseconds;
    }

    public async Task EndAsync()
    {
        for (var index = 0; index < _machines.Count; index++)
        {
            await _machines[index].DisposeAsync();
            await Shell.RunAsync("ip", "-n", _cluster.Id, "link", "delete", TapOf(index));
            Directory.Delete(DisksOf(index), recursive: true);
            Directory.Delete(SocketsOf(index), recursive: true);
            if (Directory.Exists(GroupOf(index)))
            {
                Directory.Delete(GroupOf(index));
            }
        }

        _machines.Clear();
    }

    public async ValueTask DisposeAsync()
    {
        foreach (var machine in _machines)
        {
            await machine.DisposeAsync();
        }
    }

    /// <summary>As the agent limits its own.</summary>
    /// <returns>The file that takes a process in.</returns>
    private string MakeGroup(int index, long millicores)
    {
        const int PeriodMicroseconds = 100_000;
        var group = Directory.CreateDirectory(GroupOf(index)).FullName;
        var quota = (millicores * PeriodMicroseconds / 1000).ToString(CultureInfo.InvariantCulture);
        if (File.Exists($"{group}/cpu.cfs_quota_us"))
        {
            File.WriteAllText($"{group}/cpu.cfs_quota_us", quota);
        }
        else
        {
            File.WriteAllText($"{group}/cpu.max", $"{quota} {PeriodMicroseconds}");
        }

        return $"{group}/cgroup.procs";
    }

    private string GroupOf(int index) =>
        $"{(Directory.Exists("/sys/fs/cgroup/cpu") ? "/sys/fs/cgroup/cpu" : "/sys/fs/cgroup")}/{_cluster.Id}-bare{index}";

    private static string TapOf(int index) => $"bare{index}";

    private string DisksOf(int index) => $"{_scratch}/{index}";

    private string SocketsOf(int index) => $"{_cluster.RunFolder}/b{index}";

    private string ConsoleOf(int index) => $"{DisksOf(index)}/console.log";
}
