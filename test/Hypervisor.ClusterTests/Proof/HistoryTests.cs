using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Configuration;
using Hypervisor.Server.Stores;
using Hypervisor.Server.Stores.Etcd;
using Hypervisor.Server.Stores.Records;
using Hypervisor.Server.Stores.Sqlite;
using Hypervisor.TestCluster;
using Hypervisor.TestCluster.Histories;
using Xunit;
using WatchStep = Hypervisor.TestCluster.Histories.WatchStep;

namespace Hypervisor.ClusterTests.Proof;

/// <summary>
/// Protects, while servers and etcd members are killed under concurrent clients: each name's history is Linearizable, watches are
/// exact (WatchExact), a list is the state at its revision (WatchEqualsList), and revisions never go back (RevisionMonotonic).
/// </summary>
/// <remarks><c>HYPERVISOR_HISTORY_SEED</c> repeats what the clients ask and who is killed, not how the processes interleave.</remarks>
public sealed class HistoryTests
{
    private const int Clients = 8;
    private const int Watchers = 3;
    private const int LeastKills = 6;

    /// <summary>Of the keys whose changes show on an instance.</summary>
    private static readonly string[] Prefixes = [Keys.Specs, Keys.Placements, Keys.Statuses];

    private static readonly string[] Names = ["hot-1", "hot-2", "hot-3", "hot-4"];
    private static readonly TimeSpan Duration = TimeSpan.FromSeconds(15);

    private readonly int _seed =
        int.TryParse(Environment.GetEnvironmentVariable("HYPERVISOR_HISTORY_SEED"), out var seed) ? seed : Environment.ProcessId;

    [Fact(Timeout = 300_000)]
    public Task Histories_on_the_embedded_store_are_linearizable() => RunAsync(servers: 1, etcdMembers: 0);

    [Fact(Timeout = 300_000)]
    public Task Histories_on_three_etcd_members_through_two_servers_are_linearizable() => RunAsync(servers: 2, etcdMembers: 3);

    private async Task RunAsync(int servers, int etcdMembers)
    {
        TestContext.Current.TestOutputHelper?.WriteLine($"seed {_seed}");
        await using var group = await Servers.StartAsync(servers, etcdMembers);
        var moments = new HistoryClient.Moments();
        var clients = Enumerable.Range(0, Clients)
            .Select(number => new HistoryClient(number, Connect(group), Names, moments, _seed)).ToList();
        var watchers = Enumerable.Range(0, Watchers).Select(number => new HistoryWatcher(Connect(group), number % servers)).ToList();
        try
        {
            using var stop = new CancellationTokenSource();
            var running = clients.Select(client => client.RunAsync(stop.Token)).ToList();
            var kills = await KillAsync(group);
            await stop.CancelAsync();
            await Task.WhenAll(running);
            for (var server = 0; server < servers; server++)
            {
                await group.AnswersAsync(server);
                await clients[server].ReadAllAsync(server);
            }

            // The last change of all; every watch has to come so far.
            var created = await Connect(group)[0].CreateInstanceAsync(
                new CreateInstanceRequest { Name = "last", Spec = new InstanceSpec { Type = InstanceType.Container, Image = "busybox" } });
            var last = new ResourceVersion(created.Metadata.ResourceVersion).Revision;
            foreach (var watcher in watchers)
            {
                await watcher.ReachesAsync(last);
            }

            // They still add to what they were told.
            foreach (var watcher in watchers)
            {
                await watcher.DisposeAsync();
            }

            foreach (var process in group.Processes)
            {
                await process.StopAsync();
            }

            Judge(clients, watchers, await HistoryAsync(group), last, kills);
        }
        catch (Exception exception)
        {
            throw new InvalidOperationException($"seed {_seed} (HYPERVISOR_HISTORY_SEED): {exception.Message}", exception);
        }
        finally
        {
            foreach (var watcher in watchers)
            {
                await watcher.DisposeAsync();
            }
        }
    }

    private static void Judge(
        List<HistoryClient> clients, List<HistoryWatcher> watchers, ObjectHistory history, long last, int kills)
    {
        var operations = clients.SelectMany(client => client.Operations).ToList();
        var lists = clients.SelectMany(client => client.Lists).ToList();
        var steps = watchers.SelectMany(watcher => watcher.Steps).ToList();
        TestContext.Current.TestOutputHelper?.WriteLine(
            $"{kills} kills, {operations.Count} operations, {operations.Count(each => !each.Operation.IsKnown)} of unknown outcome, "
            + $"{lists.Count} lists, {steps.Count} watch steps in {steps.Count(step => step.Kind == WatchStepKind.Begun)} calls");
        Assert.Empty(Violations(operations, lists, watchers.ConvertAll(watcher => watcher.Steps), history, last));

        // Otherwise nothing was proved.
        Assert.InRange(operations.Count(each => each.Operation.Outcome == Outcome.Done), 100, int.MaxValue);
        Assert.Contains(operations, each => each.Operation.Outcome == Outcome.Unknown);

        // Nor if the same, with one answer another, were as good.
        Assert.Single(Violations(WithStaleRead(operations), lists, [], history, last));
        Assert.Single(Violations([], WithStaleList(lists, history), [], history, last));
        Assert.NotEmpty(Violations([], [], [WithGap(watchers[0].Steps)], history, last));
    }

    private static List<string> Violations(
        List<(string Name, Operation Operation)> operations,
        List<(RevisionSeen Seen, Dictionary<string, ObjectState> Objects)> lists,
        List<IReadOnlyList<WatchStep>> watches,
        ObjectHistory history,
        long last)
    {
        List<string> violations = [];
        var written = history.Revisions.SelectMany(revision => revision.Changes.Select(change => change.Value))
            .OfType<string>().ToHashSet(StringComparer.Ordinal);
        foreach (var name in Names)
        {
            // A write that is not in the store's log had no effect. Of one that is there, and of every delete, the time is open.
            var its = operations.Where(each => each.Name == name).Select(each => each.Operation)
                .Where(each => each.IsKnown || each.Kind == OperationKind.Delete || written.Contains(each.Value));
            if (LinearizabilityCheck.Violation(its) is { } violation)
            {
                violations.Add($"{name} {violation}");
            }
        }

        foreach (var (seen, objects) in lists)
        {
            if (history.ListViolation(seen.Revision, objects) is { } violation)
            {
                violations.Add($"{seen.Who}: {violation}");
            }
        }

        violations.AddRange(RevisionOrder.Violations(lists.Select(list => list.Seen)));
        violations.AddRange(watches.SelectMany(steps => WatchCheck.Violations(history, steps, last)));
        return violations;
    }

    /// <summary>The beginning of one name's history, and then a read that shows what it first held.</summary>
    private static List<(string Name, Operation Operation)> WithStaleRead(List<(string Name, Operation Operation)> operations)
    {
        var beginning = operations.Where(each => each.Name == Names[0]).OrderBy(each => each.Operation.Invoked).Take(100).ToList();
        var first = beginning.First(each => each.Operation is { Kind: OperationKind.Get, Outcome: Outcome.Done }).Operation;
        var after = operations.Max(each => Math.Max(each.Operation.Invoked, each.Operation.Returned)) + 1;
        return [.. beginning, (Names[0], first with { Invoked = after, Returned = after + 1 })];
    }

    /// <summary>Without one change that was followed by something in its call: what a call ends with may be told again by the next.</summary>
    private static List<WatchStep> WithGap(IReadOnlyList<WatchStep> steps)
    {
        var gap = Enumerable.Range(0, steps.Count - 1)
            .Last(index => steps[index].Kind == WatchStepKind.Modified && steps[index + 1].Kind != WatchStepKind.Begun);
        return [.. steps.Where((_, index) => index != gap)];
    }

    /// <summary>The last list says that it is of a moment in which it would have been another.</summary>
    private static List<(RevisionSeen Seen, Dictionary<string, ObjectState> Objects)> WithStaleList(
        List<(RevisionSeen Seen, Dictionary<string, ObjectState> Objects)> lists, ObjectHistory history)
    {
        var final = lists.MaxBy(list => list.Seen.Invoked);
        return [.. lists, (final.Seen with { Revision = history.Revisions[^1].Revision }, final.Objects)];
    }

    /// <summary>One victim after the other; at most one etcd member is away at a time. All run in the end.</summary>
    private async Task<int> KillAsync(Servers group)
    {
        var random = new Random(_seed);
        var started = RealTime.Clock.GetTimestamp();
        var kills = 0;
        while (kills < LeastKills || RealTime.Clock.GetElapsedTime(started) < Duration)
        {
            await PauseAsync(random.Next(300, 1500));
            var etcd = group.Etcd is not null && random.Next(2) == 0;
            if (etcd)
            {
                await group.Etcd!.HealthyAsync();
            }

            var victims = etcd ? group.Etcd!.Members : group.Processes;
            var victim = victims[random.Next(victims.Count)];
            await victim.KillAsync();
            await PauseAsync(random.Next(0, 600));
            victim.Start();
            kills++;
            if (!etcd && random.Next(4) > 0)
            {
                // Otherwise it may be the next victim while it still starts.
                await group.AnswersAsync(group.Processes.ToList().IndexOf(victim));
            }
        }

        return kills;
    }

    private static Task PauseAsync(int milliseconds) => Task.Delay(TimeSpan.FromMilliseconds(milliseconds), RealTime.Clock);

    /// <summary>Connections of its own: clients that share one share its luck.</summary>
    private static List<ComputeService.ComputeServiceClient> Connect(Servers group) =>
        [.. group.Processes.Select((_, index) => new ComputeService.ComputeServiceClient(group.Open(index)))];

    /// <summary>All that the store did to instances, from its own log.</summary>
    private static async Task<ObjectHistory> HistoryAsync(Servers group)
    {
        await using IClusterStore store = group.Etcd is { } etcd
            ? await EtcdStore.OpenAsync(new EtcdConfiguration { Endpoints = etcd.Endpoints }, RealTime.Clock)
            : await SqliteStore.OpenAsync(group.DatabaseOf(0), RealTime.Clock);
        var end = await store.GetRevisionAsync(CancellationToken.None);
        var history = new ObjectHistory();
        var values = new Dictionary<string, string>(StringComparer.Ordinal);
        var names = new Dictionary<string, string>(StringComparer.Ordinal);
        await foreach (var batch in store.WatchAsync("", 1, CancellationToken.None))
        {
            var changes = batch.Changes.Select(change => Change(change, values, names)).OfType<ObjectChange>()
                .GroupBy(change => change.Uid).Select(one => one.Last()).ToList();
            if (changes.Count > 0)
            {
                // A revision may touch several keys of an instance; what is shown is its state after all of them.
                history.Add(batch.Revision, [.. changes.Select(change => change with { Value = values.GetValueOrDefault(change.Uid) })]);
            }

            if (batch.Revision >= end)
            {
                break;
            }
        }

        return history;
    }

    /// <param name="values">By uid.</param>
    /// <param name="names">The uid of who holds it.</param>
    private static ObjectChange? Change(StoreChange change, Dictionary<string, string> values, Dictionary<string, string> names)
    {
        var prefix = Prefixes.FirstOrDefault(prefix => change.Current.Key.StartsWith(prefix, StringComparison.Ordinal));
        if (prefix is null)
        {
            return null;
        }

        var key = change.Current.Key[prefix.Length..];
        if (prefix != Keys.Specs)
        {
            return new ObjectChange(key, null);
        }

        if (change.Deleted)
        {
            names.Remove(key, out var gone);
            values.Remove(gone!);
            return new ObjectChange(gone!, null);
        }

        var record = InstanceSpecRecord.Parser.ParseFrom(change.Current.Value.Span);
        names[key] = record.Metadata.Uid;
        values[record.Metadata.Uid] = record.Metadata.Labels.GetValueOrDefault(HistoryClient.Label, "");
        return new ObjectChange(record.Metadata.Uid, null);
    }
}
