using Hypervisor.Protocol.V1;
using Hypervisor.TestCluster;

namespace Hypervisor.Bench;

/// <summary>
/// What the platform adds to a guest: from the API call until the guest's first line on its serial console, against <c>virsh create</c> of the
/// same XML (VMs) and the bare command line of the same VMM (microVMs) with the same files, one of each in turn; ten at once; and the memory
/// that the agent and its helpers need for each of twenty guests.
/// </summary>
internal static class VmBench
{
    private const int Pairs = 9;
    private const int Warmups = 1;
    private const int Parallel = 10;
    private const int ParallelRounds = 3;
    private const int Guests = 20;

    private static readonly Resources _size = new() { CpuMillicores = 1000, MemoryBytes = 192 << 20 };

    /// <summary>What a guest of that size and its VMM take, and some more.</summary>
    private const long Touched = 320L << 20;

    /// <summary>Ten of them fit on a machine of two cores. The peers have the same limit: without one they would have what the machine keeps for itself.</summary>
    private static readonly Resources _tenth = new() { CpuMillicores = 180, MemoryBytes = 192 << 20 };

    /// <summary>Twenty of them fit on a machine of two cores.</summary>
    private static readonly Resources _small = new() { CpuMillicores = 90, MemoryBytes = 96 << 20 };

    /// <summary>After the last guest has come up, the agent gives back what starting needed.</summary>
    private static readonly TimeSpan _settle = TimeSpan.FromSeconds(30);

    public static async Task RunAsync()
    {
        await using var cluster = await LocalCluster.StartAsync(new LocalClusterOptions { Libvirt = true });
        await cluster.ImportBusyboxAsync();
        var guests = new BenchGuests(cluster);
        await guests.AvailableAsync(InstanceType.Microvm);
        await guests.AvailableAsync(InstanceType.Vm);

        await OneByOneAsync(guests, InstanceType.Vm, await BareVm.LikeAsync(cluster, guests, _size));
        await using var bare = await BareMicrovm.LikeAsync(cluster, guests, _size);
        await OneByOneAsync(guests, InstanceType.Microvm, bare);
        await AtOnceAsync(guests, bare);
        await MemoryAsync(cluster, guests);
    }

    private static async Task OneByOneAsync(BenchGuests guests, InstanceType type, IBareGuests bare)
    {
        var name = type == InstanceType.Vm ? "vm" : "microvm";
        var ours = new List<double>();
        var theirs = new List<double>();
        for (var pair = 0; pair < Pairs + Warmups; pair++)
        {
            BackedMemory.Touch(Touched);
            var own = await guests.FirstLineAsync(type, $"{name}-{pair}", _size);
            await guests.DeleteAsync($"{name}-{pair}");

            // libvirt gives both of its guests the limit that their definition names; a bare VMM has to be put under it.
            await bare.PrepareAsync(1, type == InstanceType.Microvm ? _size.CpuMillicores : null);
            BackedMemory.Touch(Touched);
            var other = await bare.FirstLinesAsync();
            await bare.EndAsync();
            if (pair >= Warmups)
            {
                ours.Add(own);
                theirs.Add(other);
            }
        }

        var allowed = Math.Max(50, 0.05 * Metric.Median(theirs));
        Metric.Print($"{name}.first_line_ms", Metric.Median(ours), "ms");
        Metric.Print($"{name}.bare_first_line_ms", Metric.Median(theirs), "ms");
        Metric.Print($"{name}.overhead_ms", Metric.Median(ours) - Metric.Median(theirs), "ms");
        Metric.Print($"{name}.overhead_allowed_ms", allowed, "ms");
    }

    private static async Task AtOnceAsync(BenchGuests guests, BareMicrovm bare)
    {
        var ours = new List<double>();
        var theirs = new List<double>();
        for (var round = 0; round < ParallelRounds; round++)
        {
            string[] names = [.. Enumerable.Range(0, Parallel).Select(index => $"par-{round}-{index}")];
            BackedMemory.Touch(Touched * Parallel);
            ours.Add(Parallel / await Metric.TimeAsync(
                () => Task.WhenAll(names.Select(name => guests.FirstLineAsync(InstanceType.Microvm, name, _tenth)))) * 1000);
            await Task.WhenAll(names.Select(guests.DeleteAsync));
            await bare.PrepareAsync(Parallel, _tenth.CpuMillicores);
            BackedMemory.Touch(Touched * Parallel);
            theirs.Add(Parallel / await bare.FirstLinesAsync() * 1000);
            await bare.EndAsync();
        }

        Metric.Print("microvm.parallel_rate_per_s", Metric.Median(ours), "1/s");
        Metric.Print("microvm.parallel_bare_rate_per_s", Metric.Median(theirs), "1/s");
        Metric.Print("microvm.parallel_rate_ratio", Metric.Median(ours) / Metric.Median(theirs), "ratio");
    }

    private static async Task MemoryAsync(LocalCluster cluster, BenchGuests guests)
    {
        await Task.Delay(_settle, RealTime.Clock);
        var without = OwnMemory.ProportionalMb(cluster);
        for (var index = 0; index < Guests; index++)
        {
            await guests.FirstLineAsync(InstanceType.Microvm, $"many-{index}", _small);
        }

        await Task.Delay(_settle, RealTime.Clock);
        var with = OwnMemory.ProportionalMb(cluster);
        Metric.Print("microvm.our_overhead_mb", (with - without) / Guests, "MB");
        for (var index = 0; index < Guests; index++)
        {
            await guests.DeleteAsync($"many-{index}");
        }
    }
}
