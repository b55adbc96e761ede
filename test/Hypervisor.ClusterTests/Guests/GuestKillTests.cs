using Hypervisor.ClusterTests.Faults;
using Hypervisor.ClusterTests.Spine;
using Hypervisor.Protocol.V1;
using Hypervisor.TestCluster;
using Xunit;

namespace Hypervisor.ClusterTests.Guests;

/// <summary>
/// Protects: whoever is killed while a guest is made, stopped, started or deleted, the guest becomes what was wanted of it (Converges), and nothing of it
/// is left in the end (NoOrphans). Each row is one life of a guest with a kill in each of its steps, at moments that the seed draws.
/// </summary>
[Collection(GuestCluster.Name)]
public sealed class GuestKillTests(GuestCluster guests)
{
    private const string Name = "mortal";

    /// <summary>A start under emulation takes some seconds on a busy machine, and one that was cut off begins anew.</summary>
    private const double Patience = 120;

    public enum Victim
    {
        Agent,
        Libvirtd,

        /// <summary>The guest's own VMM, if there is one at that moment.</summary>
        Machine,
    }

    public static TheoryData<Victim, InstanceType, int> Rows
    {
        get
        {
            var rows = new TheoryData<Victim, InstanceType, int>();
            foreach (var seed in KillPoint.Seeds(usual: "1"))
            {
                rows.Add(Victim.Agent, InstanceType.Microvm, seed);
                rows.Add(Victim.Agent, InstanceType.Vm, seed);
                rows.Add(Victim.Libvirtd, InstanceType.Vm, seed);
                rows.Add(Victim.Machine, InstanceType.Microvm, seed);
                rows.Add(Victim.Machine, InstanceType.Vm, seed);
            }

            return rows;
        }
    }

    private LocalCluster Cluster => guests.Cluster;

    [Theory]
    [MemberData(nameof(Rows))]
    public async Task It_becomes_what_was_wanted(Victim victim, InstanceType type, int seed)
    {
        await guests.BeginAsync();
        var random = new Random(seed);

        await Cluster.CreateAsync(GuestCluster.Request(type, Name, "sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1 & wait; done"));
        await KillAsync(victim, random.Next(2500));
        await Cluster.RunningAsync(Name, Patience);
        await guests.AnswersAsync(Name);

        await Cluster.Compute.StopInstanceAsync(new StopInstanceRequest { Instance = Name }, deadline: LocalCluster.Deadline(10));
        await KillAsync(victim, random.Next(600));
        await Cluster.InstanceAsync(Name, "stops", instance => Instances.Settled(instance, InstanceState.Stopped), Patience);
        Assert.Empty(new Leftovers(Cluster).Machines());

        await Cluster.Compute.StartInstanceAsync(new StartInstanceRequest { Instance = Name }, deadline: LocalCluster.Deadline(10));
        await KillAsync(victim, random.Next(1500));
        await Cluster.RunningAsync(Name, Patience);
        await guests.AnswersAsync(Name);

        var deleted = Cluster.DeleteAsync(Name);
        await KillAsync(victim, random.Next(400));
        await deleted;
        await Cluster.LeavesAsync([], Name);
    }

    private async Task KillAsync(Victim victim, int milliseconds)
    {
        await Task.Delay(TimeSpan.FromMilliseconds(milliseconds), RealTime.Clock);
        switch (victim)
        {
            case Victim.Agent:
                await Cluster.Agent.KillAsync();
                Cluster.Agent.Start();
                break;
            case Victim.Libvirtd:
                await Cluster.Libvirtd!.KillAsync();
                Cluster.Libvirtd.Start();
                break;
            default:
                foreach (var machine in new Leftovers(Cluster).Machines())
                {
                    Linux.Signal(machine, Linux.SignalKill);
                }

                break;
        }
    }
}
