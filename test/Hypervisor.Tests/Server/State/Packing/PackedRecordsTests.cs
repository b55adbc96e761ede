using CsCheck;
using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.State;
using Hypervisor.Server.State.Packing;
using Hypervisor.Server.Stores.Records;
using Xunit;

namespace Hypervisor.Tests.Server.State.Packing;

/// <summary>Protects: a record comes out of the view as it came from the store, also with fields that this version does not know.</summary>
public sealed class PackedRecordsTests
{
    private static readonly InstanceId _id = new("u1");

    /// <summary>Field 999, the number 7.</summary>
    private static readonly byte[] _unknown = [0xB8, 0x3E, 7];

    [Fact]
    public void A_spec_record_comes_out_as_it_went_in()
    {
        Gen.Select(Gen.Int[0, 1], Gen.Int[0, 3], Gen.Int[0, 3], Gen.Bool, Gen.Bool, Gen.Bool).Sample(
            (project, labels, requests, owned, deleted, unknown) =>
            {
                var record = Record(project, labels, requests, owned, deleted, unknown);
                var packed = PackedSpec.Of(_id, record.ToByteArray());

                Assert.Equal(record, packed.Unpack(_id));
                Assert.Equal(record.Metadata, packed.UnpackWithoutSpec(_id).Metadata);
                Assert.Equal(("web", deleted), (packed.Name, packed.Deleting));
                Assert.Equal(InstanceEntry.ListKeyOf(record.Metadata.Project, "web"), packed.ListKey);
                Assert.Equal(record.Metadata.CreatedAt.ToDateTimeOffset(), packed.CreatedAt);
                Assert.Equal(record.Metadata.Labels, packed.Shared.Labels.ToDictionary());
                Assert.Equal(owned ? "g" : null, packed.Shared.GroupUid);
            },
            iter: 200);
    }

    [Fact]
    public void What_was_cut_short_is_refused_or_is_another_record()
    {
        var bytes = Record(1, 2, 2, owned: true, deleted: true, unknown: true).ToByteArray();
        for (var length = 0; length < bytes.Length; length++)
        {
            var part = bytes[..length];
            if (Parsed(part) is { } record)
            {
                record.Metadata ??= new();
                Assert.Equal(record, PackedSpec.Of(_id, part).Unpack(_id));
            }
            else
            {
                var exception = Xunit.Record.Exception(() => PackedSpec.Of(_id, part));
                Assert.True(exception is InvalidProtocolBufferException or ArgumentOutOfRangeException, $"{length}: {exception}");
            }
        }
    }

    [Fact]
    public void Instances_that_are_alike_have_what_they_share_once()
    {
        var (one, other) = (Record(1, 2, 1, true, false, false), Record(1, 2, 3, true, true, false));
        (other.Metadata.Name, other.Metadata.Uid) = ("api", "u2");
        var (first, second) = (PackedSpec.Of(_id, one.ToByteArray()), PackedSpec.Of(new("u2"), other.ToByteArray()));

        Assert.Same(first.Shared, second.Shared);
        Assert.Same(first.Spec, second.Spec);
        Assert.Equal(other, second.Unpack(new("u2")));
    }

    [Fact]
    public void The_uid_of_another_instance_is_kept()
    {
        var record = Record(1, 0, 0, false, false, false);
        Assert.Equal("u1", PackedSpec.Of(new("u2"), record.ToByteArray()).Unpack(new("u2")).Metadata.Uid);
        Assert.Equal("u1", PackedSpec.Of(default, record.ToByteArray()).Unpack(new("u2")).Metadata.Uid);
    }

    [Theory]
    [InlineData("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", true)]
    [InlineData("00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", false)]
    [InlineData("00-0af7651916cd43dd8448eb211c80319cb-7ad6b7169203331-01", false)]
    [InlineData("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0", false)]
    [InlineData("0af7651916cd43dd8448eb211c80319cb7ad6b71692033310af7651", false)]
    [InlineData("", false)]
    public void Every_trace_comes_out_as_it_went_in_and_the_usual_ones_take_half(string trace, bool half)
    {
        var record = Record(1, 1, 1, false, false, unknown: true);
        record.TraceParent = trace;

        Assert.Equal(record, PackedSpec.Of(_id, record.ToByteArray()).Unpack(_id));
        Assert.Equal(half, PackedTrace.TryPack(System.Text.Encoding.ASCII.GetBytes(trace), new byte[PackedTrace.Size]));
    }

    [Theory]
    [InlineData("n1", true)]
    [InlineData("n1", false)]
    [InlineData("", false)]
    public void A_placement_comes_out_as_it_went_in(string node, bool evicted)
    {
        var record = new PlacementRecord
        {
            Placement = new()
            {
                Node = "alpha",
                NodeUid = node,
                Epoch = 1L << 48,
                Reason = "Because",
                Eviction = evicted ? new() { Reason = "Drained", ForUid = "u9" } : null,
            },
            Reserved = new() { CpuMillicores = 5 },
        };
        record.MergeFrom(_unknown);
        var packed = PackedPlacement.Of(record.ToByteArray());

        Assert.Equal(record, packed.Unpack());
        Assert.Equal((node.Length > 0 ? node : null, 1L << 48, evicted), (packed.NodeUid, packed.Epoch, packed.IsEvicted));
        Assert.Equal("n2", (packed with { NodeUid = "n2" }).Unpack()!.Placement.NodeUid);
    }

    [Fact]
    public void A_placement_record_without_a_placement_says_of_no_node()
    {
        var packed = PackedPlacement.Of(new PlacementRecord { Reserved = new() { CpuMillicores = 5 } }.ToByteArray());
        Assert.Equal((true, null, 0), (packed.Exists, packed.NodeUid, packed.Epoch));
        Assert.Null(packed.Unpack()!.Placement);
    }

    [Theory]
    [InlineData(ConditionStatus.True, false)]
    [InlineData(ConditionStatus.False, true)]
    [InlineData(ConditionStatus.Unknown, true)]
    public void A_status_comes_out_as_it_went_in(ConditionStatus ready, bool unready)
    {
        var record = new StatusRecord
        {
            Status = new() { State = InstanceState.Running, ObservedEpoch = 7, Conditions = { new Condition { Type = "Ready", Status = ready } } },
        };
        record.MergeFrom(_unknown);
        var packed = PackedStatus.Of(record.ToByteArray());

        Assert.Equal(record, packed.Unpack());
        Assert.Equal((InstanceState.Running, unready, true, false), (packed.State, packed.IsUnready, packed.IsOf(7), packed.IsOf(8)));
        Assert.False(PackedStatus.Of([]).IsOf(0));
    }

    private static InstanceSpecRecord? Parsed(byte[] bytes)
    {
        try
        {
            return InstanceSpecRecord.Parser.ParseFrom(bytes);
        }
        catch (InvalidProtocolBufferException)
        {
            return null;
        }
    }

    private static InstanceSpecRecord Record(int project, int labels, int requests, bool owned, bool deleted, bool unknown)
    {
        var record = new InstanceSpecRecord
        {
            Metadata = new()
            {
                Name = "web",
                Project = project == 0 ? "" : "default",
                Uid = "u1",
                Generation = 3,
                CreatedAt = new Timestamp { Seconds = 1_700_000_000, Nanos = 123_456_700 },
                DeletedAt = deleted ? new Timestamp { Seconds = 1_800_000_000 } : null,
                Owner = owned ? new() { Kind = GroupEntry.Kind, Uid = "g", Revision = 2 } : null,
                Annotations = { ["note"] = "x" },
            },
            Spec = new() { Type = InstanceType.Vm, Image = "busybox", Constraints = new() { Priority = 5 }, Disks = { new Disk { Kind = DiskKind.Local } } },
            TraceParent = "00-1-2-01",
        };
        for (var index = 0; index < labels; index++)
        {
            record.Metadata.Labels[$"label-{index}"] = $"{index}";
        }

        for (var index = 0; index < requests; index++)
        {
            record.Requests.Add(new RequestRecord { RequestId = $"r{index}", Digest = ByteString.CopyFromUtf8("digest"), At = new Timestamp { Seconds = index } });
        }

        if (unknown)
        {
            record.MergeFrom(_unknown);
            record.Metadata.MergeFrom(_unknown);
            record.Spec.MergeFrom(_unknown);
        }

        return record;
    }
}
