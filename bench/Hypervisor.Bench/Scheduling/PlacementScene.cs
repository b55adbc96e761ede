using System.Diagnostics;
using Hypervisor.Hosting.Randomness;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Configuration;
using Hypervisor.Server.Controllers;
using Hypervisor.Server.State;
using Hypervisor.Server.Stores;
using Hypervisor.Server.Stores.Etcd;
using Hypervisor.Server.Stores.Memory;
using Hypervisor.TestCluster;
using Microsoft.Extensions.Logging.Abstractions;

namespace Hypervisor.Bench.Scheduling;

/// <summary>The leader's placements without a network: over a single-member etcd of its own, or over memory, where only decisions are measured.</summary>
internal sealed class PlacementScene : IAsyncDisposable
{
    private const int WritesAtOnce = 2_000;

    private readonly CancellationTokenSource _stopping = new();
    private readonly string _folder;
    private readonly EtcdCluster? _etcd;
    private readonly Task _following;
    private ILeadership? _leadership;

    private PlacementScene(string folder, EtcdCluster? etcd, IClusterStore store)
    {
        (_folder, _etcd, Store) = (folder, etcd, store);
        Writer = new(store, RealTime.Clock);
        State = new(store, RealTime.Clock, new SystemRandomSource(), NullLogger<ClusterState>.Instance);
        Placer = new(State, PlacementStrategy.Binpack, RealTime.Clock);
        Controller = new(State, store, Writer, Placer, RealTime.Clock, NullLogger<PlacementController>.Instance);
        _following = State.RunAsync(_stopping.Token);
    }

    public IClusterStore Store { get; }

    public StoreWriter Writer { get; }

    public ClusterState State { get; }

    public Placer Placer { get; }

    public PlacementController Controller { get; }

    /// <summary>From <see cref="LeadAsync"/> on.</summary>
    public LeaderTerm Term { get; private set; } = null!;

    public static async Task<PlacementScene> StartAsync(bool durable)
    {
        var folder = $"/tmp/hvt-{Environment.ProcessId:x}-durable";
        Directory.CreateDirectory(folder);
        var etcd = durable ? await EtcdCluster.StartAsync(new EtcdOptions { AsAdvised = true, Folder = $"{folder}/etcd" }) : null;
        IClusterStore store = etcd is null
            ? new MemoryStore(RealTime.Clock)
            : await EtcdStore.OpenAsync(new EtcdConfiguration { Endpoints = etcd.Endpoints }, RealTime.Clock);
        var scene = new PlacementScene(folder, etcd, store);
        await scene.State.WaitUntilLoadedAsync(CancellationToken.None);
        return scene;
    }

    public async Task WriteAllAsync(IEnumerable<IReadOnlyList<StoreOperation>> all)
    {
        var revision = 0L;
        foreach (var chunk in all.Chunk(WritesAtOnce))
        {
            var written = await Task.WhenAll(chunk.Select(operations => Writer.WriteAsync(new([], operations), CancellationToken.None)));
            revision = written.Max(result => result.Revision);
        }

        await State.WaitForRevisionAsync(revision, CancellationToken.None);
    }

    public async Task LeadAsync()
    {
        _leadership = await Store.CampaignAsync(Keys.ControllerElection, "bench", Server.Limits.Control.LeaderLease, _stopping.Token);
        await State.WaitForRevisionAsync(_leadership.Guard.Revision, _stopping.Token);
        Term = new(_leadership.Guard);
    }

    /// <param name="beside">Whose failure is this one's.</param>
    /// <exception cref="TimeoutException"/>
    public async Task UntilAsync(Func<ClusterView, bool> holds, TimeSpan patience, Task beside)
    {
        var started = Stopwatch.GetTimestamp();
        using var changes = State.Subscribe(State.View.Revision);
        while (!holds(State.View))
        {
            await changes.ReadAsync(TimeSpan.FromSeconds(1), _stopping.Token);
            if (beside.IsFaulted)
            {
                await beside;
            }

            if (Stopwatch.GetElapsedTime(started) > patience)
            {
                throw new TimeoutException($"{State.View.UnplacedByUid.Count} instances are still without a node.");
            }
        }
    }

    public async ValueTask DisposeAsync()
    {
        if (_leadership is not null)
        {
            await _leadership.DisposeAsync();
        }

        await _stopping.CancelAsync();
        await _following.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        await Writer.DisposeAsync();
        await Store.DisposeAsync();
        if (_etcd is not null)
        {
            await _etcd.DisposeAsync();
        }

        Directory.Delete(_folder, recursive: true);
        _stopping.Dispose();
    }
}
