using System.Diagnostics;
using Hypervisor.Protocol.V1;
using Hypervisor.TestCluster;

namespace Hypervisor.Bench;

/// <summary>
/// The peer: the very command line that the agent gave its VMM, with copies of the same disks, run without the agent. Its tap exists
/// already; nobody else makes anything for it.
/// </summary>
internal sealed class BareMicrovm : IAsyncDisposable
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
        await Shell.RunAsync("cp", "-a", "--sparse=always", guestFolder, $"{scratch}/disks");
        var tap = arguments.Single(argument => argument.StartsWith("tap,", StringComparison.Ordinal)).Split(',')
            .Single(part => part.StartsWith("ifname=", StringComparison.Ordinal))["ifname=".Length..];
        return new BareMicrovm(cluster, arguments, $"{cluster.RunFolder}/agent/m/{uid}", guestFolder, tap, scratch);
    }

    /// <summary>Folders, disks and taps of so many.</summary>
    public async Task PrepareAsync(int count)
    {
        for (var index = 0; index < count; index++)
        {
            await Shell.RunAsync("cp", "-a", "--sparse=always", $"{_scratch}/disks", DisksOf(index));
            File.Delete(ConsoleOf(index));
            Directory.CreateDirectory(SocketsOf(index));
            await Shell.RunAsync("ip", "-n", _cluster.Id, "tuntap", "add", "dev", TapOf(index), "mode", "tap");
            await Shell.RunAsync("ip", "-n", _cluster.Id, "link", "set", TapOf(index), "up");
            _machines.Add(_cluster.Inside($"bare-{index}", _arguments[0], [.. _arguments.Skip(1).Select(argument => argument
                .Replace(_runFolder, SocketsOf(index), StringComparison.Ordinal)
                .Replace(_guestFolder, DisksOf(index), StringComparison.Ordinal)
                .Replace($"ifname={_tap}", $"ifname={TapOf(index)}", StringComparison.Ordinal))]));
        }
    }

    /// <summary>Milliseconds from the first start until all have written their line.</summary>
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

    private static string TapOf(int index) => $"bare{index}";

    private string DisksOf(int index) => $"{_scratch}/{index}";

    private string SocketsOf(int index) => $"{_cluster.RunFolder}/b{index}";

    private string ConsoleOf(int index) => $"{DisksOf(index)}/console.log";
}
