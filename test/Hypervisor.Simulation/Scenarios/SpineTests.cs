using System.Globalization;
using Hypervisor.Agent.Drivers;
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
        AfterCreate = async (cluster, uid) =>
        {
            if (cluster.Loop.Random.Chance(0.2))
            {
                await cluster.Disk.TransactAsync(
                    new StoreTransaction([], [new StoreOperation.Delete(Keys.Spec(new InstanceId(uid)))]), CancellationToken.None);
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
    public void A_planted_server_that_forgets_request_ids_is_found() =>
        AssertFound("IdempotentOnce", new Sabotage { RequestId = _ => "" });

    private static void AssertFound(string invariant, Sabotage sabotage) => Assert.Contains(
        Enumerable.Range(1, 5).Select(seed => Spine.Run((ulong)seed, sabotage)),
        run => run.Violations.Any(violation => violation.StartsWith(invariant, StringComparison.Ordinal)));

    /// <summary>The planted bug: what is there at the first look is removed.</summary>
    private sealed class CleaningDriver(IInstanceDriver driver) : IInstanceDriver
    {
        private bool _cleaned;

        public InstanceType Type => driver.Type;

        public string Name => driver.Name;

        public async Task<IReadOnlyList<DriverInstance>> ListAsync(CancellationToken cancellationToken)
        {
            if (!_cleaned)
            {
                _cleaned = true;
                foreach (var instance in await driver.ListAsync(cancellationToken))
                {
                    await driver.RemoveAsync(instance.Id, instance.Epoch, cancellationToken);
                }
            }

            return await driver.ListAsync(cancellationToken);
        }

        public Task<RuntimeInfo> ProbeAsync(CancellationToken cancellationToken) => driver.ProbeAsync(cancellationToken);

        public Task<DriverInstance?> GetAsync(InstanceId id, CancellationToken cancellationToken) => driver.GetAsync(id, cancellationToken);

        public Task CreateAsync(InstanceDefinition definition, CancellationToken cancellationToken) => driver.CreateAsync(definition, cancellationToken);

        public Task StartAsync(InstanceId id, Epoch epoch, CancellationToken cancellationToken) => driver.StartAsync(id, epoch, cancellationToken);

        public Task StopAsync(InstanceId id, Epoch epoch, StopPolicy policy, CancellationToken cancellationToken) =>
            driver.StopAsync(id, epoch, policy, cancellationToken);

        public Task PauseAsync(InstanceId id, Epoch epoch, CancellationToken cancellationToken) => driver.PauseAsync(id, epoch, cancellationToken);

        public Task ResumeAsync(InstanceId id, Epoch epoch, CancellationToken cancellationToken) => driver.ResumeAsync(id, epoch, cancellationToken);

        public Task RemoveAsync(InstanceId id, Epoch epoch, CancellationToken cancellationToken) => driver.RemoveAsync(id, epoch, cancellationToken);

        public IAsyncEnumerable<InstanceId> WatchAsync(CancellationToken cancellationToken) => driver.WatchAsync(cancellationToken);
    }
}
