using Hypervisor.TestCluster.Traces;
using Xunit;

namespace Hypervisor.Tests.Proof;

/// <summary>Protects: the proof of durability refuses every trace in which a record was acknowledged too early.</summary>
public sealed class AcknowledgementOrderTests
{
    private static readonly string Record = string.Concat(Enumerable.Repeat(AcknowledgementOrder.Mark(7), AcknowledgementOrder.Marks));
    private static readonly string Half = string.Concat(Enumerable.Repeat(AcknowledgementOrder.Mark(7), AcknowledgementOrder.Marks / 2));

    public static TheoryData<string, string> TooEarly => new()
    {
        { "no sync at all", $"""{Write(Record)} | {Acknowledge}""" },
        { "acknowledged before the sync", $"""{Write(Record)} | {Acknowledge} | {Sync}""" },
        { "acknowledged while the sync runs", $"""{Write(Record)} | {SyncBegins} | {Acknowledge} | {SyncEnds}""" },
        { "the sync began before the write", $"""{SyncBegins} | {Write(Record)} | {SyncEnds} | {Acknowledge}""" },
        { "the write ended after the sync began", $"""{WriteBegins(Record)} | {Sync} | {WriteEnds} | {Acknowledge}""" },
        { "acknowledged before it was written", $"""{Acknowledge} | {Write(Record)} | {Sync}""" },
        { "never written", $"""{Sync} | {Acknowledge}""" },
        { "another file was synced", $"""{Write(Record)} | 20 fdatasync(9</s/other>) = 0 | {Acknowledge}""" },
        { "the sync failed", $"""{Write(Record)} | 20 fdatasync(5</s/wal>) = -1 EIO (Input/output error) | {Acknowledge}""" },
        { "the sync was not done", $"""{Write(Record)} | 20 fdatasync(5</s/wal>) = 0 (INJECTED) | {Acknowledge}""" },
        { "the write failed", $"""10 write(5</s/wal>, "{Record}", 128) = -1 ENOSPC (No space left on device) | {Sync} | {Acknowledge}""" },
        { "half of the record was synced", $"""{Write(Half)} | {Sync} | {Write(Half)} | {Acknowledge}""" },
        { "written to a socket only", $"""10 write(6<socket:[123]>, "{Record}", 128) = 128 | {Sync} | {Acknowledge}""" },
    };

    public static TheoryData<string, string> InTime => new()
    {
        { "one after the other", $"""{Write(Record)} | {Sync} | {Acknowledge}""" },
        { "in two writes", $"""{Write(Half)} | {Write(Half)} | {Sync} | {Acknowledge}""" },
        { "a mark across two writes", $"""{Write(Record[..^4])} | {Write(Record[^4..])} | {Sync} | {Acknowledge}""" },
        { "written again later", $"""{Write(Record)} | {Sync} | {WriteBegins(Record)} | {Acknowledge} | {WriteEnds}""" },
        { "a later sync while it is acknowledged", $"""{Write(Record)} | {Sync} | {SyncBegins} | {Acknowledge} | {SyncEnds}""" },
        { "among signals and ends", $"""{Write(Record)} | 10 --- SIGCHLD (x) --- | {Sync} | 11 +++ exited with 0 +++ | {Acknowledge}""" },
        { "among bytes that are no text", $"""{Write($"\\0\\377\\\"{Record}\\1")} | {Sync} | {Acknowledge}""" },
        { "a call from before the trace ends in it", $"""20 <... fdatasync resumed>) = 0 | {Write(Record)} | {Sync} | {Acknowledge}""" },
    };

    private static string Sync => "20 fdatasync(5</s/wal>) = 0";

    private static string SyncBegins => "20 fdatasync(5</s/wal> <unfinished ...>";

    private static string SyncEnds => "20 <... fdatasync resumed>) = 0";

    private static string Acknowledge => """30 pwrite64(7</w/acks>, "ack 000007\n", 11, 0) = 11""";

    private static string WriteEnds => "10 <... pwrite64 resumed>) = 128";

    [Theory]
    [MemberData(nameof(TooEarly))]
    public void An_acknowledgement_before_its_record_is_durable_is_found(string what, string trace) =>
        Assert.True(Check(trace).Violations.Count == 1, what);

    [Theory]
    [MemberData(nameof(InTime))]
    public void An_acknowledgement_of_a_durable_record_is_right(string what, string trace) =>
        Assert.True(Check(trace).Violations.Count == 0, what);

    [Fact]
    public void A_line_that_is_none_of_the_tracer_is_not_passed_over() =>
        Assert.Throws<FormatException>(() => StraceParser.Parse(["strace: out of memory"]));

    [Fact]
    public void A_copy_that_lacks_an_acknowledged_record_is_named()
    {
        var copy = new CopiedAtSync(3, new HashSet<int> { 1, 2, 5 });

        Assert.Null(copy.Lost(new HashSet<int> { 1, 2, 4, 5 }));
        Assert.Equal("the copy at sync 3 lacks 1 of 3 records acknowledged before the next one: 2", copy.Lost(new HashSet<int> { 1, 5 }));
    }

    private static AcknowledgementReport Check(string trace)
    {
        var report = AcknowledgementOrder.Check(
            StraceParser.Parse(trace.Split(" | ")), file => file.StartsWith("/s/", StringComparison.Ordinal));
        Assert.Equal(1, report.Acknowledged);
        return report;
    }

    private static string Write(string data) => $"""10 pwrite64(5</s/wal>, "{data}", 128, 4096) = 128""";

    private static string WriteBegins(string data) => $"""10 pwrite64(5</s/wal>, "{data}", 128, 4096 <unfinished ...>""";
}
