using Grpc.Core;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Groups;
using Hypervisor.Tests.Server.State;
using Xunit;

namespace Hypervisor.Tests.Server.Api.Instances;

/// <summary>Protects: of each batch of a bulk create all instances are made or none, and the answer says of each request what became of it.</summary>
public sealed class BulkCreationTests
{
    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Fact(Timeout = 60_000)]
    public async Task Ten_thousand_are_made_in_few_commits()
    {
        await using var replica = await Replica.StartAsync();
        var before = replica.State.Revision;

        var response = await CreateAsync(replica, Enumerable.Range(0, 10_000).Select(index => $"i{index}"));

        Assert.Equal(Enumerable.Range(0, 10_000).Select(index => $"i{index}"), response.Results.Select(result => result.Instance?.Metadata.Name));
        Assert.Equal(10_000, replica.State.View.InstanceCount);
        Assert.True(replica.State.Revision - before < 700, $"{replica.State.Revision - before} commits: the batches were not joined.");
    }

    [Theory(Timeout = 60_000)]
    [InlineData(0)]
    [InlineData(10_001)]
    public async Task No_request_and_too_many_are_refused(int count)
    {
        await using var replica = await Replica.StartAsync();

        var error = await Assert.ThrowsAsync<RpcException>(() => CreateAsync(replica, Enumerable.Range(0, count).Select(index => $"i{index}")));

        Assert.Equal($"requests: has {count} entries; 1 to 10000 are allowed.", error.Status.Detail);
    }

    [Fact(Timeout = 60_000)]
    public async Task One_that_is_refused_keeps_its_batch_back_and_no_other()
    {
        await using var replica = await Replica.StartAsync();
        await replica.CreateAsync("taken");

        var response = await CreateAsync(replica, ["a", "Bad", "b", "c", "d", "taken", "e", "e", "f", "g"], batchSize: 2);

        Assert.Equal(
            [StatusCode.Aborted, StatusCode.InvalidArgument, StatusCode.OK, StatusCode.OK, StatusCode.Aborted, StatusCode.AlreadyExists,
                StatusCode.Aborted, StatusCode.AlreadyExists, StatusCode.OK, StatusCode.OK],
            response.Results.Select(result => (StatusCode)(result.Error?.Code ?? 0)));
        Assert.Equal("Nothing of this batch was created, because of request 2 of it ('Bad').", response.Results[0].Error.Message);
        Assert.Contains("'e' is asked for twice", response.Results[7].Error.Message, StringComparison.Ordinal);
        Assert.Equal(["b", "c", "f", "g", "taken"], replica.State.View.Instances.Select(instance => instance.Name));
    }

    [Fact(Timeout = 60_000)]
    public async Task With_batches_of_one_each_succeeds_or_fails_by_itself()
    {
        await using var replica = await Replica.StartAsync();

        var response = await CreateAsync(replica, ["a", "Bad", "b"], batchSize: 1);

        Assert.Equal([true, false, true], response.Results.Select(result => result.Error is null));
    }

    [Fact(Timeout = 60_000)]
    public async Task A_batch_is_one_revision()
    {
        await using var replica = await Replica.StartAsync();

        await CreateAsync(replica, Enumerable.Range(0, 16).Select(index => $"i{index}"));

        Assert.Single(replica.State.View.Instances.Select(instance => instance.SpecRevision).Distinct());
    }

    [Fact(Timeout = 60_000)]
    public async Task A_repeated_request_makes_what_is_missing_and_answers_with_the_rest()
    {
        await using var replica = await Replica.StartAsync();
        var one = await replica.CreateAsync("a", "r-a");
        var request = new CreateInstancesRequest { Requests = { Replica.NewRequest("a", "r-a"), Replica.NewRequest("b", "r-b") } };

        var first = await replica.Instances.Bulk.CreateAsync(request, Cancellation);
        var again = await replica.Instances.Bulk.CreateAsync(request, Cancellation);

        Assert.Equal(one.Metadata.Uid, first.Results[0].Instance.Metadata.Uid);
        Assert.Equal(first.Results.Select(result => result.Instance.Metadata.Uid), again.Results.Select(result => result.Instance.Metadata.Uid));
        Assert.Equal(2, replica.State.View.InstanceCount);
    }

    [Fact(Timeout = 60_000)]
    public async Task What_takes_too_much_for_a_transaction_is_refused_as_a_batch()
    {
        await using var replica = await Replica.StartAsync();
        var request = new CreateInstancesRequest();
        request.Requests.AddRange(Enumerable.Range(0, 3).Select(index =>
        {
            var large = Replica.NewRequest($"i{index}");
            large.Spec.Process = new() { Env = { Enumerable.Range(0, 4).Select(number => new EnvVar { Name = $"N{number}", Value = new string('x', 25_000) }) } };
            large.Spec.Process.Args.Add(Enumerable.Repeat(new string('x', 30_000), 4));
            return large;
        }));

        var refused = (await replica.Instances.Bulk.CreateAsync(request, Cancellation)).Results;
        Assert.All(refused, result => Assert.Contains("Send smaller batches (batch_size)", result.Error.Message, StringComparison.Ordinal));

        request.BatchSize = 2;
        Assert.All((await replica.Instances.Bulk.CreateAsync(request, Cancellation)).Results, result => Assert.NotNull(result.Instance));
    }

    [Fact(Timeout = 60_000)]
    public async Task A_dry_run_makes_nothing_and_is_not_mixed_with_what_makes()
    {
        await using var replica = await Replica.StartAsync();
        var request = new CreateInstancesRequest { Requests = { Replica.NewRequest("a"), Replica.NewRequest("Bad"), Replica.NewRequest("b") } };
        request.Requests.ToList().ForEach(each => each.DryRun = true);

        var response = await replica.Instances.Bulk.CreateAsync(request, Cancellation);
        Assert.Equal(["a", "", "b"], response.Results.Select(result => result.Instance?.Metadata.Name ?? ""));
        Assert.Equal(0, replica.State.View.InstanceCount);

        request.Requests[0].DryRun = false;
        var error = await Assert.ThrowsAsync<RpcException>(() => replica.Instances.Bulk.CreateAsync(request, Cancellation));
        Assert.Contains("dry_run is set for some and not for others", error.Status.Detail, StringComparison.Ordinal);
    }

    [Fact(Timeout = 60_000)]
    public async Task The_label_of_groups_is_the_system_s_own()
    {
        await using var replica = await Replica.StartAsync();

        var error = await Assert.ThrowsAsync<RpcException>(() => replica.CreateAsync("a", more: request => request.Labels[GroupLabel.Key] = "web"));

        Assert.Contains("labels[hypervisor.zixiao/group]: is given by the server to the members of groups", error.Status.Detail, StringComparison.Ordinal);
    }

    private static Task<CreateInstancesResponse> CreateAsync(Replica replica, IEnumerable<string> names, int batchSize = 0)
    {
        var request = new CreateInstancesRequest { BatchSize = batchSize };
        request.Requests.AddRange(names.Select(name => Replica.NewRequest(name)));
        return replica.Instances.Bulk.CreateAsync(request, Cancellation);
    }
}
