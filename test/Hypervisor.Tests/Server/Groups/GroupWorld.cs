using Google.Protobuf.WellKnownTypes;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Groups;
using Hypervisor.Server.Api.Lists;
using Hypervisor.Server.Controllers;
using Hypervisor.Server.Groups;
using Hypervisor.Server.State;
using Hypervisor.Server.Stores;
using Hypervisor.Server.Stores.Records;
using Xunit;

namespace Hypervisor.Tests.Server.Groups;

/// <summary>Groups on a control plane without a network: the API's classes, the leader's reconciler, and nodes that do what a test says.</summary>
internal sealed class GroupWorld : IAsyncDisposable
{
    private readonly GroupProgress _progress;

    private GroupWorld(ControlPlane plane)
    {
        Plane = plane;
        _progress = new(plane.Time);
        Api = new(
            new(plane.Reads, plane.Writer, plane.Random, plane.Time),
            new(new(plane.Reads, plane.Writer, plane.Time), plane.Store, plane.Time),
            new(plane.Reads, new PagedReads(plane.Reads, plane.Time), plane.Store));
    }

    public ControlPlane Plane { get; }

    public GroupOperations Api { get; }

    public LeaderTerm Term { get; private set; } = null!;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public static async Task<GroupWorld> StartAsync(int nodes = 3)
    {
        var world = new GroupWorld(await ControlPlane.StartAsync(Token));
        for (var index = 0; index < nodes; index++)
        {
            await world.Plane.ReadyNodeAsync($"n{index}", Token);
        }

        // Without a lease: these tests let time pass.
        var leader = Keys.Leader(Keys.ControllerElection);
        var won = await world.Plane.Store.TransactAsync(new([], [new StoreOperation.Put(leader, "test"u8.ToArray())]), Token);
        world.Term = new(Compare.Created(leader, won.Revision));
        return world;
    }

    /// <summary>On somebody else's control plane, who disposes of that.</summary>
    public static GroupWorld Over(ControlPlane plane, LeaderTerm term) => new(plane) { Term = term };

    public ValueTask DisposeAsync() => Plane.DisposeAsync();

    public static CreateGroupRequest NewRequest(string name, int count, Action<GroupSpec>? change = null)
    {
        var request = new CreateGroupRequest
        {
            Name = name,
            Spec = new()
            {
                Count = count,
                Template = new()
                {
                    Labels = { ["app"] = name },
                    Spec = new() { Type = InstanceType.Container, Image = "busybox", Resources = new() { CpuMillicores = 100, MemoryBytes = 64 << 20 } },
                },
            },
        };
        change?.Invoke(request.Spec);
        return request;
    }

    public Task<Group> CreateAsync(string name, int count, Action<GroupSpec>? change = null) => Api.Creation.CreateAsync(NewRequest(name, count, change), Token);

    public Task<Group> GetAsync(string name) => Api.Queries.GetAsync(new() { Group = name }, Token);

    public Task<Group> ImageAsync(string name, string image) => Api.Updates.UpdateAsync(
        new()
        {
            Group = new() { Metadata = new() { Name = name }, Spec = new() { Template = new() { Spec = new() { Image = image } } } },
            UpdateMask = new() { Paths = { "spec.template.spec.image" } },
        },
        Token);

    public async Task<GroupEntry> EntryAsync(string name) => (await Plane.ViewAsync(Token)).GroupByName("default", name)!;

    /// <summary>Those that are not being deleted, by name.</summary>
    public async Task<List<InstanceEntry>> MembersAsync(string name)
    {
        var view = await Plane.ViewAsync(Token);
        return [.. view.MembersOf(view.GroupByName("default", name)!).Where(member => !member.Deleting).OrderBy(member => member.Name, StringComparer.Ordinal)];
    }

    /// <summary>Looks at the group until there is nothing to be done at once.</summary>
    public async Task ReconcileAsync(string name)
    {
        for (var pass = 0; pass < 1000; pass++)
        {
            await Plane.ViewAsync(Token);
            if (Plane.State.View.GroupByName("default", name) is not { } group
                || (await Plane.Groups.ReconcileAsync(Term, group.Uid, _progress, Token)).Again > Hypervisor.Server.Limits.Groups.Pause)
            {
                return;
            }
        }

        Assert.Fail("There is always something to be done.");
    }

    /// <summary>As if its node had reported it.</summary>
    public Task ReportAsync(InstanceEntry member, InstanceState state, Action<InstanceStatus>? change = null)
    {
        var status = new InstanceStatus
        {
            State = state,
            ObservedEpoch = member.Epoch.Value,
            ObservedGeneration = member.Metadata.Generation,
            StartedAt = Plane.Time.GetUtcNow().ToTimestamp(),
        };
        change?.Invoke(status);
        return Plane.PutAsync(Keys.Status(member.Id), new StatusRecord { Status = status }, Token);
    }

    /// <summary>Nodes do what is wanted of them: what may go is gone, and what may run runs, if the test lets it.</summary>
    public async Task NodesActAsync(string name, Func<InstanceEntry, bool>? runs = null)
    {
        var view = await Plane.ViewAsync(Token);
        foreach (var member in view.GroupByName("default", name) is { } group ? view.MembersOf(group).ToList() : [])
        {
            if (member.Deleting)
            {
                await Plane.Writer.WriteAsync(InstanceRemoval.Write(member, Plane.Time.GetUtcNow(), []), Token);
            }
            else if (member.CurrentStatus is null && member.NodeId is not null && runs?.Invoke(member) != false)
            {
                await ReportAsync(member, InstanceState.Running);
            }
        }

        await Plane.ViewAsync(Token);
    }

    /// <summary>Time passes, nodes act and the leader looks, again and again.</summary>
    public async Task RollAsync(string name, int rounds = 20, Func<InstanceEntry, bool>? runs = null, Func<Task>? check = null)
    {
        for (var round = 0; round < rounds; round++)
        {
            await ReconcileAsync(name);
            await NodesActAsync(name, runs);
            Plane.Time.Advance(Hypervisor.Server.Limits.Groups.MinReady);
            if (check is not null)
            {
                await check();
            }
        }

        await ReconcileAsync(name);
    }

    public static Condition ConditionOf(Group group, string type) => group.Status.Conditions.Single(condition => condition.Type == type);
}
