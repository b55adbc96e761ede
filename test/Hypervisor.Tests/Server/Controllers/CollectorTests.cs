using Google.Protobuf.WellKnownTypes;
using Hypervisor.Protocol;
using Hypervisor.Server.Controllers;
using Hypervisor.Server.Stores;
using Hypervisor.Server.Stores.Records;
using Microsoft.Extensions.Logging.Abstractions;
using Xunit;

namespace Hypervisor.Tests.Server.Controllers;

/// <summary>Protects: tombstones outlive every node that may hold a copy and every repeated request; history is bounded.</summary>
public sealed class CollectorTests
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_tombstone_goes_after_its_time_once_no_registered_node_is_owed_it()
    {
        await using var plane = await ControlPlane.StartAsync(Token);
        var node = await plane.ReadyNodeAsync("a", Token);
        await PutAsync("free");
        await PutAsync("owed", node.Value);
        await PutAsync("orphan", "deregistered");

        plane.Time.Advance(TimeSpan.FromMinutes(14));
        Assert.Equal(0, await CollectAsync());
        plane.Time.Advance(TimeSpan.FromMinutes(1));
        Assert.Equal(2, await CollectAsync());

        Assert.Equal("owed", Assert.Single((await plane.ViewAsync(Token)).Tombstones).Id.Value);

        async Task<int> CollectAsync()
        {
            await using var leadership = await plane.CampaignAsync(Token);
            return await plane.Tombstones.CollectAsync(new(leadership.Guard), Token);
        }

        Task PutAsync(string uid, params string[] pending)
        {
            var record = new TombstoneRecord { Project = "default", Name = uid, DeletedAt = plane.Time.GetUtcNow().ToTimestamp() };
            record.PendingNodeUids.AddRange(pending);
            return plane.PutAsync(Keys.Tombstone(new InstanceId(uid)), record, Token);
        }
    }

    [Fact]
    public async Task A_deposed_leader_collects_nothing()
    {
        await using var plane = await ControlPlane.StartAsync(Token);
        var leadership = await plane.CampaignAsync(Token);
        await plane.PutAsync(Keys.Tombstone(new("t")), new TombstoneRecord { DeletedAt = plane.Time.GetUtcNow().ToTimestamp() }, Token);
        await leadership.DisposeAsync();
        plane.Time.Advance(TimeSpan.FromDays(1));

        Assert.Equal(0, await plane.Tombstones.CollectAsync(new(leadership.Guard), Token));
    }

    [Fact]
    public async Task History_is_forgotten_after_ten_minutes_and_not_before()
    {
        await using var plane = await ControlPlane.StartAsync(Token);
        var compactor = new HistoryCompactor(plane.Store, plane.Time, NullLogger<HistoryCompactor>.Instance);
        await plane.ReadyNodeAsync("a", Token);
        var first = await plane.Store.GetRevisionAsync(Token);
        Assert.Equal(0, await compactor.CompactAsync(Token));
        await plane.ReadyNodeAsync("b", Token);

        plane.Time.Advance(TimeSpan.FromMinutes(9));
        Assert.Equal(0, await compactor.CompactAsync(Token));
        plane.Time.Advance(TimeSpan.FromMinutes(1));
        Assert.Equal(first, await compactor.CompactAsync(Token));

        await plane.Store.RangeAsync(RangeQuery.Prefix("nodes/", first), Token);
        await Assert.ThrowsAsync<RevisionCompactedException>(
            async () => await plane.Store.RangeAsync(RangeQuery.Prefix("nodes/", first - 1), Token));
    }
}
