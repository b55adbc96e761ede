using Google.Protobuf;
using Hypervisor.Server.Stores;
using Hypervisor.Server.Stores.Etcd;
using Mvccpb;
using Xunit;

namespace Hypervisor.Tests.Server.Stores.Etcd;

/// <summary>Protects: a watch of etcd never shows a part of a revision, however etcd cuts its answers.</summary>
public sealed class RevisionAssemblerTests
{
    [Fact]
    public void An_answer_in_one_piece_is_whole()
    {
        var assembler = new RevisionAssembler(1);

        Assert.Equal(["2:a,b", "3:c"], Take(assembler, false, (2, "a"), (2, "b"), (3, "c")));
        Assert.Equal(["4:a"], Take(assembler, false, (4, "a")));
    }

    [Fact]
    public void A_revision_waits_for_its_last_fragment()
    {
        var assembler = new RevisionAssembler(1);

        Assert.Empty(Take(assembler, true, (2, "a"), (2, "b")));
        Assert.Equal(["2:a,b,c"], Take(assembler, true, (2, "c"), (3, "a")));
        Assert.Empty(Take(assembler, true, (3, "b")));
        Assert.Equal(["3:a,b,c"], Take(assembler, false, (3, "c")));
    }

    [Fact]
    public void The_last_fragment_may_be_empty()
    {
        var assembler = new RevisionAssembler(1);

        Assert.Empty(Take(assembler, true, (2, "a")));
        Assert.Equal(["2:a"], Take(assembler, false));
        Assert.Empty(Take(assembler, false));
    }

    [Fact]
    public void What_was_delivered_before_is_left_out()
    {
        var assembler = new RevisionAssembler(5);

        Assert.Equal(["6:b"], Take(assembler, false, (5, "a"), (6, "b")));
        Assert.Equal(["7:c"], Take(assembler, false, (6, "b"), (7, "c")));
    }

    [Fact]
    public void A_deletion_has_only_its_key_and_revision()
    {
        var key = new Mvccpb.KeyValue { Key = ByteString.CopyFromUtf8("a"), ModRevision = 2 };
        var deletion = new Event { Type = Event.Types.EventType.Delete, Kv = key };

        var batch = Assert.Single(new RevisionAssembler(1).Take([deletion], fragment: false));

        Assert.Equal(new StoreChange(new("a", default, 0, 2, 0), true), Assert.Single(batch.Changes));
    }

    private static IEnumerable<string> Take(RevisionAssembler assembler, bool fragment, params (long Revision, string Key)[] events) =>
        assembler.Take(
            events.Select(entry => new Event { Kv = new() { Key = ByteString.CopyFromUtf8(entry.Key), ModRevision = entry.Revision } }),
            fragment)
            .Select(batch => $"{batch.Revision}:{string.Join(',', batch.Changes.Select(change => change.Current.Key))}");
}
