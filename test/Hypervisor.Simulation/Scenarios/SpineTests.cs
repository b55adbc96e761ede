using System.Globalization;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Stores;
using Hypervisor.Simulation.Cluster;
using Xunit;

namespace Hypervisor.Simulation.Scenarios;

/// <summary>
/// Protects SingleWriter, EpochMonotonic, NoGhostKill, Durable, WatchExact, WatchEqualsList, IdempotentOnce, NoOrphans and Converges
/// against kills, pauses and partitions of everything; and that the checks see a bug of each kind when one is planted.
/// </summary>
public sealed class SpineTests
{
    /// <summary>To look for bugs: "first-last", in place of the seeds of every run.</summary>
    private const string SeedsVariable = "HYPERVISOR_SIMULATION_SEEDS";

    public static TheoryData<ulong> Seeds()
    {
        var range = (Environment.GetEnvironmentVariable(SeedsVariable) ?? "1-20").Split('-').Select(number => int.Parse(number, CultureInfo.InvariantCulture)).ToList();
        return [.. Enumerable.Range(range[0], range[^1] - range[0] + 1).Select(seed => (ulong)seed)];
    }

    [Theory]
    [MemberData(nameof(Seeds))]
    public void Nothing_is_lost_doubled_or_destroyed_under_faults(ulong seed)
    {
        var run = Spine.Run(seed);

        TestContext.Current.TestOutputHelper?.WriteLine($"{run}; fingerprint {run.Fingerprint:x}");
        Assert.True(run.Violations.Count == 0, run.ToString());
        // A run in which nothing happened protects nothing.
        Assert.True(run.Faults > 10 && run.Effects > 20 && run.WatchEvents > 50, run.ToString());
    }

    [Fact]
    public void The_same_seed_is_the_same_run()
    {
        Assert.Equal(Spine.Run(3).Fingerprint, Spine.Run(3).Fingerprint);
        Assert.NotEqual(Spine.Run(3).Fingerprint, Spine.Run(4).Fingerprint);
    }

    // kubevirt #18763: a restarted agent, whose cache is still empty, takes what runs for what should not.
    [Fact]
    public void A_planted_agent_that_cleans_up_at_its_start_is_found() =>
        AssertFound("NoGhostKill", new Sabotage { Driver = driver => new CleaningDriver(driver) });

    [Fact]
    public void A_planted_collector_that_takes_live_records_is_found() => AssertFound("Durable", new Sabotage
    {
        AfterCreate = async (cluster, created) =>
        {
            if (cluster.Loop.Random.Chance(0.2))
            {
                await cluster.Disk.TransactAsync(
                    new StoreTransaction([], [new StoreOperation.Delete(Keys.Spec(created.Project, created.Name))]), CancellationToken.None);
            }
        },
    });

    [Fact]
    public void A_planted_watch_that_skips_an_event_is_found()
    {
        var delivered = 0;
        AssertFound("WatchExact", new Sabotage { DeliverWatchEvent = _ => ++delivered % 25 != 0 });
    }

    [Fact]
    public void A_planted_watch_that_loses_the_last_word_on_an_instance_is_found()
    {
        var changes = 0;
        AssertFound("WatchEqualsList", new Sabotage
        {
            DeliverWatchEvent = change => change.Type != WatchEventType.Modified || ++changes % 3 != 0,
        });
    }

    [Fact]
    public void A_planted_driver_that_clings_to_an_old_epoch_is_found()
    {
        var first = new Dictionary<InstanceId, Epoch>();
        AssertFound("EpochMonotonic", new Sabotage { Driver = driver => new ClingingDriver(driver, first) });
    }

    [Fact]
    public void A_planted_driver_that_hangs_is_found() =>
        AssertFound("Converges", new Sabotage { Driver = driver => new HangingDriver(driver) });

    [Fact]
    public void A_planted_server_that_forgets_request_ids_is_found() =>
        AssertFound("IdempotentOnce", new Sabotage { RequestId = _ => "" });

    [Fact]
    public void A_planted_operator_who_gives_up_a_machine_that_runs_is_found() =>
        AssertFound("SingleWriter", new Sabotage { Fences = false });

    [Fact]
    public void A_planted_driver_that_hides_what_it_does_not_remove_is_found() =>
        AssertFound("NoOrphans", new Sabotage { Driver = driver => new HidingDriver(driver) });

    private static void AssertFound(string invariant, Sabotage sabotage) => Assert.Contains(
        Enumerable.Range(1, 5).Select(seed => Spine.Run((ulong)seed, sabotage)),
        run => run.Violations.Any(violation => violation.StartsWith(invariant, StringComparison.Ordinal)));
}
