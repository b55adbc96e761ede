using Grpc.Core;
using Hypervisor.Protocol.V1;
using Hypervisor.Server;
using Hypervisor.Server.Api.Errors;
using Hypervisor.Server.State;
using Hypervisor.Server.Stores;
using Hypervisor.Server.Stores.Memory;
using Hypervisor.Tests.Server.State;
using Microsoft.AspNetCore.Connections;
using Microsoft.Extensions.Time.Testing;
using Xunit;
using InstanceDetail = Hypervisor.Protocol.V1.InstanceView;

namespace Hypervisor.Tests.Server.Api.Instances;

/// <summary>Protects: the pages of a list show one revision or say that they cannot; reads are as fresh as was asked.</summary>
public sealed class InstanceListTests
{
    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Fact(Timeout = 60_000)]
    public async Task Pages_show_the_first_page_s_revision_whatever_changes_meanwhile()
    {
        await using var replica = await Replica.StartAsync();
        foreach (var index in Enumerable.Range(0, 7))
        {
            await replica.CreateAsync($"i{index}");
        }

        var request = new ListInstancesRequest { PageSize = 3, View = InstanceDetail.Summary };
        var names = new List<string>();
        var versions = new HashSet<long>();
        do
        {
            var page = await replica.Instances.Queries.ListAsync(request, Cancellation);
            names.AddRange(page.Instances.Select(instance => instance.Metadata.Name));
            versions.Add(page.List.ResourceVersion);
            request.PageToken = page.List.NextPageToken;
            await replica.Instances.Deletion.DeleteAsync(new() { Instance = page.Instances[0].Metadata.Name }, Cancellation);
            await replica.CreateAsync($"i3-{names.Count}");
        }
        while (request.PageToken.Length > 0);

        Assert.Equal(["i0", "i1", "i2", "i3", "i4", "i5", "i6"], names);
        Assert.Single(versions);
    }

    [Fact(Timeout = 60_000)]
    public async Task A_list_that_waited_too_long_says_so_and_a_token_fits_its_own_list_only()
    {
        await using var replica = await Replica.StartAsync();
        await replica.CreateAsync("a");
        await replica.CreateAsync("b");
        var first = await replica.Instances.Queries.ListAsync(new() { PageSize = 1 }, Cancellation);
        var token = first.List.NextPageToken;

        Assert.Equal(StatusCode.InvalidArgument, await Code(replica, new() { PageSize = 1, PageToken = token, LabelSelector = "a" }));
        Assert.Equal(StatusCode.InvalidArgument, await Code(replica, new() { PageSize = 1, PageToken = "xx" }));
        replica.Time.Advance(Limits.Api.ListPinTime + TimeSpan.FromSeconds(1));
        Assert.Equal(StatusCode.Aborted, await Code(replica, new() { PageSize = 1, PageToken = token }));
    }

    [Fact(Timeout = 60_000)]
    public async Task Lists_are_filtered_by_project_labels_state_type_and_node()
    {
        await using var replica = await Replica.StartAsync();
        await replica.AddNodeAsync("n1", "alpha");
        var web = await replica.CreateAsync("web", more: request => request.Labels["app"] = "web");
        await replica.CreateAsync("db", more: request => request.Project = "other");
        await replica.CreateAsync("vm", more: request => request.Spec.Type = InstanceType.Vm);
        await replica.WriteAsync(Replica.Place(web.Metadata.Uid, "n1", 1));
        await replica.WriteAsync(Replica.Report(web.Metadata.Uid, 1, InstanceState.Running));

        Assert.Equal(["vm", "web"], await Names(replica, new()));
        Assert.Equal(["vm", "web", "db"], await Names(replica, new() { Project = "-" }));
        Assert.Equal(["web"], await Names(replica, new() { LabelSelector = "app in (web)" }));
        Assert.Equal(["web"], await Names(replica, new() { States = { InstanceState.Running } }));
        Assert.Equal(["vm"], await Names(replica, new() { Types_ = { InstanceType.Vm } }));
        Assert.Equal(["web"], await Names(replica, new() { Node = "alpha" }));
        Assert.Equal(StatusCode.InvalidArgument, await Code(replica, new() { LabelSelector = "a=(" }));
        Assert.Equal(StatusCode.InvalidArgument, await Code(replica, new() { PageSize = 10_001 }));
        Assert.Equal(StatusCode.InvalidArgument, await Code(replica, new() { States = { (InstanceState)77 } }));
    }

    [Fact(Timeout = 60_000)]
    public async Task Without_the_store_only_stale_reads_are_answered_with_their_age()
    {
        var store = new FaultyStore(new MemoryStore(new FakeTimeProvider()));
        await using var replica = await Replica.StartAsync(store);
        await replica.CreateAsync("web");
        store.FailRevision = new StoreUnavailableException("away");
        replica.Time.Advance(TimeSpan.FromSeconds(3));

        var list = await replica.Instances.Queries.ListAsync(new() { Consistency = Consistency.Stale }, Cancellation);

        Assert.Single(list.Instances);
        Assert.Equal(3, list.List.Age.Seconds);
        await Assert.ThrowsAsync<StoreUnavailableException>(() => replica.Instances.Queries.ListAsync(new(), Cancellation));
    }

    [Fact]
    public void Failures_reach_clients_as_statuses_that_say_what_to_do()
    {
        var errors = new ErrorTranslation(
            new SeededRandom(1), Microsoft.Extensions.Logging.Abstractions.NullLogger<ErrorTranslation>.Instance);
        RpcException Of(Exception exception, bool cancelled = false) => errors.Translate(exception, "Test", cancelled);

        Assert.Equal(StatusCode.Unavailable, Of(new StoreUnavailableException("secret path")).StatusCode);
        Assert.DoesNotContain("secret", Of(new StoreUnavailableException("secret path")).Status.Detail, StringComparison.Ordinal);
        Assert.NotNull(Of(new StoreUnavailableException("x")).GetRpcStatus()!.GetDetail<Google.Rpc.RetryInfo>());
        Assert.Equal(StatusCode.Cancelled, Of(new IOException("The request stream was aborted.", new ConnectionAbortedException("faulted"))).StatusCode);
        Assert.Equal(StatusCode.Internal, Of(new IOException("No space left on device")).StatusCode);
        var busy = Of(new StoreBusyException("busy", TimeSpan.FromMilliseconds(250)));
        Assert.Equal(StatusCode.ResourceExhausted, busy.StatusCode);
        Assert.Equal(250_000_000, busy.GetRpcStatus()!.GetDetail<Google.Rpc.RetryInfo>()!.RetryDelay.Nanos);
        Assert.Equal(StatusCode.Unavailable, Of(new ViewBehindException(0, 0)).StatusCode);
        Assert.Equal(StatusCode.Cancelled, Of(new OperationCanceledException(), cancelled: true).StatusCode);
        var unexpected = Of(new InvalidOperationException("secret"));
        Assert.Equal(StatusCode.Internal, unexpected.StatusCode);
        Assert.DoesNotContain("secret", unexpected.Status.Detail, StringComparison.Ordinal);
    }

    private static async Task<IEnumerable<string>> Names(Replica replica, ListInstancesRequest request) =>
        (await replica.Instances.Queries.ListAsync(request, Cancellation)).Instances.Select(instance => instance.Metadata.Name);

    private static async Task<StatusCode> Code(Replica replica, ListInstancesRequest request) =>
        (await Assert.ThrowsAsync<RpcException>(() => replica.Instances.Queries.ListAsync(request, Cancellation))).StatusCode;
}
