using Google.Protobuf;
using Grpc.Core;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Instances;
using Hypervisor.Server.State;
using Hypervisor.Server.Stores;
using Hypervisor.Server.Stores.Memory;
using Hypervisor.Server.Stores.Records;
using Hypervisor.Tests.Server.State;
using Microsoft.Extensions.Time.Testing;
using Xunit;

namespace Hypervisor.Tests.Server.Api.Instances;

/// <summary>Protects: a create makes one object per request, whatever is repeated, raced or lost (IdempotentOnce, Durable).</summary>
public sealed class InstanceCreationTests
{
    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Fact(Timeout = 60_000)]
    public async Task A_create_answers_with_the_object_and_its_defaults()
    {
        await using var replica = await Replica.StartAsync();
        await replica.WriteAsync(new StoreOperation.Put(
            Keys.Image("default", "busybox:latest"), new ImageRecord { Image = new() { Digest = "sha256:ab" } }.ToByteArray()));

        var created = await replica.CreateAsync("web");

        Assert.Equal(("web", "default", 1), (created.Metadata.Name, created.Metadata.Project, created.Metadata.Generation));
        Assert.Equal(replica.State.View.ResourceVersion.Value, created.Metadata.ResourceVersion);
        Assert.Equal(("busybox:latest", "sha256:ab"), (created.Spec.Image, created.Spec.ImageDigest));
        Assert.Equal((1000, 256L << 20), (created.Spec.Resources.CpuMillicores, created.Spec.Resources.MemoryBytes));
        Assert.Equal(DiskKind.Ephemeral, Assert.Single(created.Spec.Disks).Kind);
        Assert.Equal(DesiredState.Running, created.Spec.DesiredState);
        Assert.Equal(InstanceState.Pending, created.Status.State);
        Assert.Equal(created, await replica.Instances.Queries.GetAsync(new() { Instance = "web" }, Cancellation));
    }

    [Fact(Timeout = 60_000)]
    public async Task An_image_that_the_type_cannot_run_is_refused_with_the_field()
    {
        await using var replica = await Replica.StartAsync();
        await replica.WriteAsync(new StoreOperation.Put(
            Keys.Image("default", "busybox:latest"),
            new ImageRecord { Image = new() { Digest = "sha256:ab", Format = ImageFormat.Qcow2, Types_ = { InstanceType.Vm } } }.ToByteArray()));

        var refused = await Assert.ThrowsAsync<RpcException>(() => replica.CreateAsync("web"));
        Assert.Equal(StatusCode.InvalidArgument, refused.StatusCode);
        Assert.Contains("spec.image", refused.Status.Detail, StringComparison.Ordinal);
        Assert.Contains("disk image (qcow2)", refused.Status.Detail, StringComparison.Ordinal);

        var created = await replica.CreateAsync("vm", "", request => request.Spec = new() { Type = InstanceType.Vm, Image = "busybox" });
        Assert.Equal("sha256:ab", created.Spec.ImageDigest);
    }

    [Theory(Timeout = 60_000)]
    [InlineData(ImageFormat.Oci, "spec.cloud_init spec.machine.firmware")]
    [InlineData(ImageFormat.Kernel, "spec.process.args spec.process.env spec.restart.policy spec.stop.signal spec.health.exec spec.cloud_init spec.machine.firmware")]
    [InlineData(ImageFormat.Raw, "spec.process.args spec.process.env spec.restart.policy spec.stop.signal spec.health.exec")]
    public async Task What_an_image_has_no_use_for_is_refused_with_each_field_and_what_to_do(ImageFormat format, string fields)
    {
        await using var replica = await Replica.StartAsync();
        await replica.WriteAsync(new StoreOperation.Put(
            Keys.Image("default", "busybox:latest"),
            new ImageRecord { Image = new() { Digest = "sha256:ab", Format = format, Types_ = { InstanceType.Vm } } }.ToByteArray()));

        var refused = await Assert.ThrowsAsync<RpcException>(() => replica.CreateAsync("vm", more: request => request.Spec = new()
        {
            Type = InstanceType.Vm,
            Image = "busybox",
            Process = new() { Args = { "x" }, Env = { new EnvVar { Name = "A" } }, Hostname = "h" },
            Restart = new() { Policy = RestartPolicy.Always },
            Stop = new() { Signal = "SIGQUIT" },
            Health = new() { Exec = new() { Command = { "true" } } },
            CloudInit = new(),
            Machine = new() { Firmware = Firmware.Uefi },
        }));

        var violations = refused.GetRpcStatus()!.GetDetail<Google.Rpc.BadRequest>().FieldViolations;
        Assert.Equal(fields.Split(' '), violations.Select(violation => violation.Field));
        Assert.All(violations, violation => Assert.Contains("leave it out", violation.Description, StringComparison.Ordinal));
    }

    [Theory(Timeout = 60_000)]
    [InlineData(InstanceType.Container)]
    [InlineData(InstanceType.Microvm)]
    [InlineData(InstanceType.Vm)]
    public async Task An_OCI_image_is_run_with_the_same_settings_in_all_types(InstanceType type)
    {
        await using var replica = await Replica.StartAsync();

        var created = await replica.CreateAsync("web", more: request => request.Spec = new()
        {
            Type = type,
            Image = "busybox",
            Process = new() { Command = { "sh" }, Args = { "-c", "true" }, Env = { new EnvVar { Name = "A" } }, WorkingDir = "/srv", User = "nobody", Stdin = true, Terminal = true },
            Security = new() { ReadOnlyRoot = true, PidsLimit = 100 },
            Restart = new() { Policy = RestartPolicy.OnFailure, MaxRestarts = 3 },
            Stop = new() { Signal = "SIGQUIT" },
            Health = new() { Exec = new() { Command = { "true" } } },
        });

        Assert.Equal(type, created.Spec.Type);
    }

    [Fact(Timeout = 60_000)]
    public async Task The_same_request_again_answers_with_the_same_object_and_another_one_is_refused()
    {
        await using var replica = await Replica.StartAsync();
        var first = await replica.CreateAsync(
            "web", "r1", request => request.Labels.Add(new Dictionary<string, string> { ["a"] = "1", ["b"] = "2" }));
        var again = await replica.CreateAsync(
            "web", "r1", request => request.Labels.Add(new Dictionary<string, string> { ["b"] = "2", ["a"] = "1" }));
        var other = await Assert.ThrowsAsync<RpcException>(() => replica.CreateAsync("web", "r1"));
        var taken = await Assert.ThrowsAsync<RpcException>(() => replica.CreateAsync("web", "r2"));

        Assert.Equal(first, again);
        Assert.Equal(StatusCode.AlreadyExists, other.StatusCode);
        Assert.Contains("request_id", other.Status.Detail, StringComparison.Ordinal);
        Assert.Equal(StatusCode.AlreadyExists, taken.StatusCode);
        Assert.Equal(1, replica.State.View.InstanceCount);
    }

    [Fact(Timeout = 60_000)]
    public async Task Many_at_once_with_one_request_id_make_one_object_and_all_are_answered_with_it()
    {
        await using var replica = await Replica.StartAsync();

        var answers = await Task.WhenAll(Enumerable.Range(0, 50).Select(_ => replica.CreateAsync("web", "r1")));

        Assert.Single(answers.Select(answer => answer.Metadata.Uid).Distinct());
        Assert.Equal(1, replica.State.View.InstanceCount);
    }

    [Fact(Timeout = 60_000)]
    public async Task Many_at_once_with_one_name_make_one_object_and_one_is_answered_with_it()
    {
        await using var replica = await Replica.StartAsync();

        var answers = await Task.WhenAll(Enumerable.Range(0, 50).Select(async index =>
        {
            try
            {
                await replica.CreateAsync("web", $"r{index}");
                return StatusCode.OK;
            }
            catch (RpcException exception)
            {
                return exception.StatusCode;
            }
        }));

        Assert.Equal(1, answers.Count(answer => answer == StatusCode.OK));
        Assert.Equal(49, answers.Count(answer => answer == StatusCode.AlreadyExists));
    }

    [Fact(Timeout = 60_000)]
    public async Task A_create_whose_answer_was_lost_is_found_by_its_repetition()
    {
        var store = new FaultyStore(new MemoryStore(new FakeTimeProvider()));
        await using var replica = await Replica.StartAsync(store);
        store.LoseAnswers = true;
        await Assert.ThrowsAsync<StoreUnavailableException>(() => replica.CreateAsync("web", "r1"));
        store.LoseAnswers = false;

        var answer = await replica.CreateAsync("web", "r1");

        Assert.Equal(answer.Metadata.Uid, Assert.Single(replica.State.View.Instances).Id.Value);
    }

    [Fact(Timeout = 60_000)]
    public async Task A_create_that_comes_again_after_the_deletion_makes_nothing_new()
    {
        await using var replica = await Replica.StartAsync();
        var created = await replica.CreateAsync("web", "r1");
        await replica.Instances.Deletion.DeleteAsync(new() { Instance = "web" }, Cancellation);

        var again = await replica.CreateAsync("web", "r1");

        Assert.Equal(created.Metadata.Uid, again.Metadata.Uid);
        Assert.NotNull(again.Metadata.DeletedAt);
        Assert.Equal(0, replica.State.View.InstanceCount);
        Assert.NotEqual(created.Metadata.Uid, (await replica.CreateAsync("web", "r2")).Metadata.Uid);
    }

    [Fact(Timeout = 60_000)]
    public async Task A_dry_run_shows_and_writes_nothing()
    {
        await using var replica = await Replica.StartAsync();
        var before = replica.State.Revision;

        var shown = await replica.CreateAsync("web", "r1", request => request.DryRun = true);

        Assert.Equal("", shown.Metadata.Uid);
        Assert.Equal("busybox:latest", shown.Spec.Image);
        Assert.Equal(before, await replica.Store.GetRevisionAsync(Cancellation));
        await replica.CreateAsync("web", "r1");
    }

    [Fact(Timeout = 60_000)]
    public async Task The_first_placement_shares_the_create_s_revision_and_is_told_of_its_fate()
    {
        var placement = new FixedPlacement([]);
        await using var replica = await Replica.StartAsync(placement: placement);
        await replica.AddNodeAsync("n1", "alpha");

        var created = await replica.CreateAsync("web");

        Assert.Equal("n1", created.Placement.NodeUid);
        Assert.Equal(InstanceState.Scheduled, created.Status.State);
        var entry = replica.State.View.InstanceByName("default", "web")!;
        Assert.Equal(entry.SpecRevision, entry.PlacementRevision);
        Assert.Equal([(PlacementOutcome.Committed, entry.SpecRevision)], placement.Settled);
    }

    [Fact(Timeout = 60_000)]
    public async Task A_leader_that_lost_its_lead_creates_without_placing()
    {
        var placement = new FixedPlacement([Compare.Modified("leaders/controllers", 12345)]);
        await using var replica = await Replica.StartAsync(placement: placement);

        var created = await replica.CreateAsync("web");

        Assert.Equal(InstanceState.Pending, created.Status.State);
        Assert.Equal([(PlacementOutcome.Refused, 0L)], placement.Settled);
    }

    [Theory(Timeout = 60_000)]
    [InlineData(null, "")]
    [InlineData("sha256:cd", "sha256:cd")]
    public async Task An_image_that_goes_or_changes_while_a_create_is_under_way_is_not_pinned(string? newDigest, string pinned)
    {
        var store = new MemoryStore(new FakeTimeProvider());
        var key = Keys.Image("default", "busybox:latest");
        var placement = new MeanwhilePlacement(() => store.TransactAsync(
            new([], [newDigest is null ? new StoreOperation.Delete(key) : new StoreOperation.Put(key, ImageWith(newDigest))]), Cancellation).AsTask());
        await using var replica = await Replica.StartAsync(store, placement);
        await replica.WriteAsync(new StoreOperation.Put(key, ImageWith("sha256:ab")));

        var created = await replica.CreateAsync("web");

        Assert.Equal(pinned, created.Spec.ImageDigest);
        Assert.Equal(created, await replica.Instances.Queries.GetAsync(new() { Instance = "web" }, Cancellation));
        Assert.Equal(2, placement.Proposals);
    }

    private static byte[] ImageWith(string digest) => new ImageRecord { Image = new() { Digest = digest } }.ToByteArray();

    /// <summary>Lets something happen between the look at the view and the write, the first time.</summary>
    private sealed class MeanwhilePlacement(Func<Task> happening) : IFirstPlacement
    {
        public int Proposals { get; private set; }

        public PlacementProposal? Propose(InstanceId id, InstanceSpecRecord spec, ClusterView view, bool dryRun)
        {
            if (++Proposals == 1)
            {
                Assert.True(happening().IsCompletedSuccessfully);
            }

            return null;
        }

        public bool Leads => true;

        public Placement? Foresee(InstanceId id, InstanceSpecRecord spec, ClusterView view) => new() { NodeUid = "n1" };
    }

    private sealed class FixedPlacement(IReadOnlyList<Compare> guards) : IFirstPlacement
    {
        public List<(PlacementOutcome Outcome, long Revision)> Settled { get; } = [];

        public PlacementProposal Propose(InstanceId id, InstanceSpecRecord spec, ClusterView view, bool dryRun) => new Proposal(
            new() { Placement = new() { Node = "alpha", NodeUid = "n1", Epoch = 5 }, Reserved = spec.Spec.Resources }, guards, Settled);

        public bool Leads => true;

        public Placement? Foresee(InstanceId id, InstanceSpecRecord spec, ClusterView view) => new() { NodeUid = "n1" };
    }

    private sealed record Proposal(PlacementRecord Record, IReadOnlyList<Compare> Conditions, List<(PlacementOutcome, long)> Settled)
        : PlacementProposal(Record, new ReceiptRecord(), Conditions)
    {
        public override void Settle(PlacementOutcome outcome, long revision) => Settled.Add((outcome, revision));
    }
}
