using Grpc.Core;
using Hypervisor.Protocol.V1;
using Hypervisor.Server;
using Hypervisor.Server.Groups;
using Hypervisor.Tests.Server.Groups;
using Xunit;

namespace Hypervisor.Tests.Server.Api.Groups;

/// <summary>Protects: what is asked of a group is checked, done once, and remembered with the templates before it.</summary>
public sealed class GroupOperationsTests
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task What_was_left_open_is_written_out_and_a_constraint_without_selector_means_the_members()
    {
        await using var world = await GroupWorld.StartAsync(nodes: 0);
        var created = await world.CreateAsync("web", 3, spec => spec.Template.Spec.Constraints = new()
        {
            Spread = { new SpreadConstraint { Topology = "zone" }, new SpreadConstraint { Selector = "app=db" } },
            AntiAffinity = { new AffinityTerm() },
        });

        Assert.Equal((1, 1, 3), (created.Metadata.Generation, created.Status.Revision, created.Status.Desired));
        Assert.Equal((1, 0, 5, 600), (
            created.Spec.Update.MaxSurge, created.Spec.Update.MaxUnavailable, created.Spec.Update.MinReady.Seconds, created.Spec.Update.ProgressDeadline.Seconds));
        var template = created.Spec.Template.Spec;
        Assert.Equal((RestartPolicy.Always, DesiredState.Running), (template.Restart.Policy, template.DesiredState));
        Assert.Equal(["hypervisor.zixiao/group=web", "app=db"], template.Constraints.Spread.Select(spread => spread.Selector));
        Assert.Equal("hypervisor.zixiao/group=web", template.Constraints.AntiAffinity[0].Selector);
    }

    public static TheoryData<string, Action<CreateGroupRequest>> Mistakes() => new()
    {
        { "name: is required", request => request.Name = "" },
        { "name: 'Web' is not", request => request.Name = "Web" },
        { "name: 'wwwwwwwwwwwww", request => request.Name = new string('w', 55) },
        { "spec: is required.", request => request.Spec = null },
        { "spec.count: -1 is outside 0 to 100000", request => request.Spec.Count = -1 },
        { "spec.count: 1000000 is outside 0 to 100000; make several groups of more.", request => request.Spec.Count = 1_000_000 },
        { "spec.count: 257 is more than a gang has, 256", request => (request.Spec.Gang, request.Spec.Count) = (true, 257) },
        { "spec.template.spec: is required.", request => request.Spec.Template = null },
        { "spec.template.spec.image: is required", request => request.Spec.Template.Spec.Image = "" },
        { "spec.template.spec.desired_state: members of a group are to run", request => request.Spec.Template.Spec.DesiredState = DesiredState.Stopped },
        { "spec.template.labels[hypervisor.zixiao/group]: is given by the server", request => request.Spec.Template.Labels[GroupLabel.Key] = "other" },
        { "spec.update.max_surge: 1001 is outside 0 to 1000.", request => request.Spec.Update = new() { MaxSurge = 1001 } },
        { "spec.update.max_unavailable: -1 is outside", request => request.Spec.Update = new() { MaxUnavailable = -1 } },
        { "spec.update.min_ready: 3601 s is outside 0 to 3600 s.", request => request.Spec.Update = new() { MinReady = new() { Seconds = 3601 } } },
        { "spec.update.progress_deadline: 0 s is outside 1 to 86400 s.", request => request.Spec.Update = new() { ProgressDeadline = new() } },
        { "spec.update.progress_deadline: ", request => request.Spec.Update = new() { ProgressDeadline = new() { Seconds = long.MaxValue } } },
        { "spec.disruption.max_unavailable: -1 is outside", request => request.Spec.Disruption = new() { MaxUnavailable = -1 } },
        {
            "spec.template.spec.constraints.anti_affinity[0]: 'hypervisor.zixiao/group=web' cannot be required in the same node and apart",
            request => request.Spec.Template.Spec.Constraints = new() { Affinity = { new AffinityTerm() }, AntiAffinity = { new AffinityTerm() } }
        },
    };

    [Theory]
    [MemberData(nameof(Mistakes))]
    public async Task A_mistake_is_refused_with_its_field_and_what_would_be_right(string expected, Action<CreateGroupRequest> mistake)
    {
        await using var world = await GroupWorld.StartAsync(nodes: 0);
        var request = GroupWorld.NewRequest("web", 3);
        mistake(request);

        var error = await Assert.ThrowsAsync<RpcException>(() => world.Api.Creation.CreateAsync(request, Token));

        Assert.Equal(StatusCode.InvalidArgument, error.StatusCode);
        Assert.Contains(expected, error.Status.Detail, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Requests_are_done_once_and_names_are_unique_in_a_project()
    {
        await using var world = await GroupWorld.StartAsync(nodes: 0);
        var request = GroupWorld.NewRequest("web", 3);
        request.RequestId = "r1";
        var first = await world.Api.Creation.CreateAsync(request, Token);
        var again = await world.Api.Creation.CreateAsync(request, Token);
        Assert.Equal(first.Metadata.Uid, again.Metadata.Uid);
        Assert.Equal(StatusCode.AlreadyExists, await CodeOfAsync(() => world.CreateAsync("web", 3)));

        await world.Api.Updates.ScaleAsync(new() { Group = "web", Count = 5, RequestId = "r2" }, Token);
        await world.Api.Updates.ScaleAsync(new() { Group = first.Metadata.Uid, Count = 4 }, Token);
        var repeated = await world.Api.Updates.ScaleAsync(new() { Group = "web", Count = 5, RequestId = "r2" }, Token);
        Assert.Equal((4, 3), (repeated.Spec.Count, repeated.Metadata.Generation));
        Assert.Equal(StatusCode.AlreadyExists, await CodeOfAsync(() => world.Api.Updates.ScaleAsync(new() { Group = "web", Count = 6, RequestId = "r2" }, Token)));
        Assert.Equal(StatusCode.Aborted, await CodeOfAsync(() => world.Api.Updates.ScaleAsync(new() { Group = "web", Count = 6, ResourceVersion = first.Metadata.ResourceVersion }, Token)));
        Assert.Equal(StatusCode.NotFound, await CodeOfAsync(() => world.Api.Updates.ScaleAsync(new() { Group = "other", Count = 6 }, Token)));
        Assert.Equal(StatusCode.InvalidArgument, await CodeOfAsync(() => world.Api.Updates.ScaleAsync(new() { Group = "web", Count = 100_001 }, Token)));
    }

    [Fact]
    public async Task A_gang_is_not_scaled_beyond_its_bound_nor_a_large_group_made_one()
    {
        await using var world = await GroupWorld.StartAsync(nodes: 0);
        await world.CreateAsync("gang", 3, spec => spec.Gang = true);
        await world.CreateAsync("web", 300);

        Assert.Equal(StatusCode.InvalidArgument, await CodeOfAsync(() => world.Api.Updates.ScaleAsync(new() { Group = "gang", Count = 257 }, Token)));
        var update = Update("web", new() { Gang = true }, "spec.gang");
        Assert.Equal(StatusCode.InvalidArgument, await CodeOfAsync(() => world.Api.Updates.UpdateAsync(update, Token)));
    }

    [Fact]
    public async Task A_template_that_was_there_before_is_the_revision_that_it_was()
    {
        await using var world = await GroupWorld.StartAsync(nodes: 0);
        await world.CreateAsync("web", 3);
        Assert.Equal(2, (await world.ImageAsync("web", "nginx")).Status.Revision);
        Assert.Equal(1, (await world.ImageAsync("web", "busybox")).Status.Revision);
        Assert.Equal(2, (await world.Api.Updates.RollBackAsync(new() { Group = "web" }, Token)).Status.Revision);
        Assert.Equal(1, (await world.Api.Updates.RollBackAsync(new() { Group = "web", Revision = 1 }, Token)).Status.Revision);
        var scaled = await world.Api.Updates.UpdateAsync(Update("web", new() { Count = 4 }, "spec.count"), Token);
        Assert.Equal((1, 4), (scaled.Status.Revision, scaled.Spec.Count));

        var history = await world.Api.Queries.RevisionsAsync(new() { Group = "web" }, Token);
        Assert.Equal([2L, 1L], history.Revisions.Select(revision => revision.Revision));
        Assert.Equal(["nginx:latest", "busybox:latest"], history.Revisions.Select(revision => revision.Template.Spec.Image));
        Assert.Equal(StatusCode.NotFound, await CodeOfAsync(() => world.Api.Updates.RollBackAsync(new() { Group = "web", Revision = 3 }, Token)));
    }

    [Fact]
    public async Task Rates_are_part_of_a_template()
    {
        await using var world = await GroupWorld.StartAsync(nodes: 0);
        await world.CreateAsync("web", 3);

        var limited = await world.Api.Updates.UpdateAsync(
            Update("web", new() { Template = new() { Spec = new() { DiskRates = new() { ReadBytesPerSecond = 65536 } } } }, "spec.template.spec.disk_rates.read_bytes_per_second"), Token);

        Assert.Equal((2, 65536), (limited.Status.Revision, limited.Spec.Template.Spec.DiskRates.ReadBytesPerSecond));
        var request = Update("web", new() { Template = new() { Spec = new() { Network = new() { Rates = new() { ReceiveBytesPerSecond = 1 } } } } }, "spec.template.spec.network.rates");
        Assert.Equal(StatusCode.InvalidArgument, await CodeOfAsync(() => world.Api.Updates.UpdateAsync(request, Token)));
    }

    /// <summary>Protects: however often a group is updated, what is kept of it is bounded.</summary>
    [Fact]
    public async Task The_templates_wanted_last_are_kept_and_the_others_forgotten()
    {
        await using var world = await GroupWorld.StartAsync(nodes: 0);
        await world.CreateAsync("web", 0);
        Assert.Equal(StatusCode.FailedPrecondition, await CodeOfAsync(() => world.Api.Updates.RollBackAsync(new() { Group = "web" }, Token)));
        for (var index = 0; index < Limits.Groups.Revisions + 2; index++)
        {
            await world.ImageAsync("web", $"image-{index}");
        }

        var history = await world.Api.Queries.RevisionsAsync(new() { Group = "web" }, Token);
        Assert.Equal(Enumerable.Range(4, Limits.Groups.Revisions).Select(number => (long)number), history.Revisions.Select(revision => revision.Revision));
        var stored = await world.Plane.Store.RangeAsync(Hypervisor.Server.Stores.RangeQuery.Prefix("groups/revision/"), Token);
        Assert.Equal(Limits.Groups.Revisions, stored.Items.Count);
    }

    [Theory]
    [InlineData("status", "cannot be changed")]
    [InlineData("metadata.name", "cannot be changed")]
    [InlineData("spec.nothing", "is no field of a group")]
    public async Task An_update_names_what_can_be_changed(string path, string expected)
    {
        await using var world = await GroupWorld.StartAsync(nodes: 0);
        await world.CreateAsync("web", 3);

        var error = await Assert.ThrowsAsync<RpcException>(() => world.Api.Updates.UpdateAsync(Update("web", new(), path), Token));

        Assert.Contains(expected, error.Status.Detail, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_group_that_is_being_deleted_takes_no_change()
    {
        await using var world = await GroupWorld.StartAsync(nodes: 0);
        await world.CreateAsync("web", 3);
        var deleted = await world.Api.Updates.DeleteAsync(new() { Group = "web" }, Token);
        var again = await world.Api.Updates.DeleteAsync(new() { Group = "web" }, Token);

        Assert.NotNull(deleted.Metadata.DeletedAt);
        Assert.Equal(deleted, again);
        Assert.Equal(StatusCode.FailedPrecondition, await CodeOfAsync(() => world.Api.Updates.ScaleAsync(new() { Group = "web", Count = 1 }, Token)));
        Assert.Equal(StatusCode.AlreadyExists, await CodeOfAsync(() => world.CreateAsync("web", 3)));
    }

    [Fact]
    public async Task Lists_are_by_name_in_pages_and_filtered_by_label()
    {
        await using var world = await GroupWorld.StartAsync(nodes: 0);
        foreach (var name in new[] { "b", "a", "c" })
        {
            var request = GroupWorld.NewRequest(name, 0);
            request.Labels["kept"] = name == "b" ? "no" : "yes";
            await world.Api.Creation.CreateAsync(request, Token);
        }

        var first = await world.Api.Queries.ListAsync(new() { PageSize = 2 }, Token);
        var second = await world.Api.Queries.ListAsync(new() { PageSize = 2, PageToken = first.List.NextPageToken }, Token);
        Assert.Equal(["a", "b", "c"], first.Groups.Concat(second.Groups).Select(group => group.Metadata.Name));
        Assert.Equal("", second.List.NextPageToken);
        var kept = await world.Api.Queries.ListAsync(new() { Project = "-", LabelSelector = "kept=yes" }, Token);
        Assert.Equal(["a", "c"], kept.Groups.Select(group => group.Metadata.Name));
        Assert.Empty((await world.Api.Queries.ListAsync(new() { Project = "other" }, Token)).Groups);
    }

    private static UpdateGroupRequest Update(string name, GroupSpec spec, string path) => new()
    {
        Group = new() { Metadata = new() { Name = name }, Spec = spec },
        UpdateMask = new() { Paths = { path } },
    };

    private static async Task<StatusCode> CodeOfAsync(Func<Task<Group>> call) => (await Assert.ThrowsAsync<RpcException>(call)).StatusCode;
}
