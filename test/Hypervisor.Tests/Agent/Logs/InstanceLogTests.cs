using System.Globalization;
using Google.Protobuf.WellKnownTypes;
using Hypervisor.Agent.Logs;
using Hypervisor.Agent.Streams;
using Hypervisor.Protocol.V1;
using Microsoft.Extensions.Time.Testing;
using Xunit;

namespace Hypervisor.Tests.Agent.Logs;

/// <summary>Protects: each line a process wrote is kept and read exactly once, across rotation, restarts of the agent and torn writes.</summary>
public sealed class InstanceLogTests : IDisposable
{
    private const string Uid = "0b54f1ff-6ee3-4f77-b2a0-5bb5c5cb1e6d";

    private static readonly LogLimits Small = new(LogLimits.SmallestSize, 3);

    private readonly ScratchFolder _scratch = new();
    private readonly FakeTimeProvider _time = new(new DateTimeOffset(2026, 11, 24, 0, 0, 0, TimeSpan.Zero));
    private readonly RawFiles _raw;
    private long _skipped;

    public InstanceLogTests()
    {
        _raw = new RawFiles(_scratch["raw"]);
        _raw.CreateFolder();
    }

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    public void Dispose() => _scratch.Dispose();

    [Fact]
    public async Task Lines_keep_their_stream_and_the_time_they_came()
    {
        var log = Open();
        var run = log.BeginRun(Small);
        Write(run, "one\ntw", "bad\n");
        log.Ingest();
        _time.Advance(TimeSpan.FromSeconds(5));
        Write(run, "o\n");
        var lines = await ReadAsync(log);
        Assert.Equal(["Stdout one", "Stderr bad", "Stdout two"], lines.Select(line => $"{line.Stream} {line.Text.ToStringUtf8()}"));
        Assert.Equal([0, 0, 5], lines.Select(line => line.At.ToDateTime().Second));
    }

    [Fact]
    public async Task What_a_run_ends_with_is_a_line_too_and_its_files_are_removed()
    {
        var log = Open();
        var run = log.BeginRun(Small);
        Write(run, "no line break");
        Assert.Empty(await ReadAsync(log));
        log.EndRun();
        Assert.Equal(["no line break"], Texts(await ReadAsync(log)));
        Assert.Empty(Directory.EnumerateFiles(_raw.Directory));
    }

    [Fact]
    public async Task A_very_long_line_comes_in_parts_that_are_the_whole()
    {
        var log = Open();
        var text = new string('x', (3 * StreamLimits.LineBytes) + 5);
        Write(log.BeginRun(Small), text + "\nnext\n");
        var lines = await ReadAsync(log);
        Assert.Equal([true, true, true, false, false], lines.Select(line => line.Partial));
        Assert.Equal(text, string.Concat(Texts(lines)[..4]));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(7)]
    [InlineData(2500)]
    public async Task A_tail_begins_so_many_lines_before_the_end(int tail)
    {
        var log = Open();
        Write(log.BeginRun(Small with { Files = 10 }), Numbered(0, 3000));
        var lines = Texts(await ReadAsync(log, new StreamLogsRequest { Tail = tail }));
        Assert.Equal(Enumerable.Range(3000 - tail, tail).Select(Line), lines);
    }

    [Fact]
    public async Task A_tail_counts_only_the_lines_that_are_asked_for()
    {
        var log = Open();
        var run = log.BeginRun(Small);
        Write(run, Numbered(0, 10), Numbered(100, 200));
        _time.Advance(TimeSpan.FromMinutes(1));
        log.Ingest();
        Assert.Equal([Line(8), Line(9)], Texts(await ReadAsync(log, new StreamLogsRequest { Tail = 2, Stream = LogStream.Stdout })));
    }

    [Fact]
    public async Task Since_leaves_out_what_is_older()
    {
        var log = Open();
        var run = log.BeginRun(Small);
        Write(run, "old\n");
        log.Ingest();
        _time.Advance(TimeSpan.FromMinutes(10));
        Write(run, "new\n");
        var since = Timestamp.FromDateTimeOffset(_time.GetUtcNow() - TimeSpan.FromMinutes(5));
        Assert.Equal(["new"], Texts(await ReadAsync(log, new StreamLogsRequest { Since = since })));
    }

    [Fact]
    public async Task Old_files_are_removed_and_a_reader_is_told_how_many_lines_are_gone()
    {
        var log = Open();
        var run = log.BeginRun(Small);
        Write(run, Numbered(0, 100));
        log.Ingest();
        var reader = new LogReader(log, new StreamLogsRequest(), 0);
        var position = 0L;
        await foreach (var answer in reader.ReadAsync(Cancel))
        {
            position = answer.Position;
        }

        Assert.Equal(100, position);
        for (var written = 100; written < 10_000; written += 900)
        {
            Write(run, Numbered(written, written + 900));
            log.Ingest();
        }

        Assert.Equal(Small.Files, log.Folder.List().Count);
        Assert.All(log.Folder.List(), first => Assert.InRange(new FileInfo(log.Folder.PathOf(first)).Length, 1, Small.SizeBytes + LogFormat.LongestLine + 100));
        var (lost, lines) = (0L, new List<LogLine>());
        await foreach (var answer in new LogReader(log, new StreamLogsRequest(), position).ReadAsync(Cancel))
        {
            lost += answer.Lines.LostLines;
            lines.AddRange(answer.Lines.Lines);
        }

        Assert.True(lost > 0);
        Assert.Equal(9_900, lost + lines.Count);
        Assert.Equal(Line(9_999), Texts(lines)[^1]);
    }

    [Fact]
    public async Task A_follower_sees_each_line_exactly_once_while_files_rotate_under_it()
    {
        var log = Open(new LogLimits(LogLimits.SmallestSize, 100));
        var run = log.BeginRun(new LogLimits(LogLimits.SmallestSize, 100));
        var seen = new List<string>();
        var following = FollowAsync();
        const int count = 20_000;
        for (var written = 0; written < count; written += 500)
        {
            Write(run, Numbered(written, written + 500));
            log.Ingest();
            await Task.Yield();
        }

        log.EndRun();
        while (log.Ingest())
        {
        }

        await following.WaitAsync(TimeSpan.FromSeconds(30), Cancel);
        Assert.Equal(Enumerable.Range(0, count).Select(Line), seen);
        Assert.True(log.Folder.List().Count > 5);

        async Task FollowAsync()
        {
            await foreach (var answer in new LogReader(log, new StreamLogsRequest { Follow = true }, 0).ReadAsync(Cancel))
            {
                Assert.Equal(0, answer.Lines.LostLines);
                seen.AddRange(Texts(answer.Lines.Lines));
                if (seen.Count >= count)
                {
                    return;
                }
            }
        }
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(30)]
    public async Task An_agent_that_was_killed_goes_on_without_losing_or_doubling_a_line(int tornBytes)
    {
        var log = Open();
        var run = log.BeginRun(Small);
        Write(run, Numbered(0, 300), Numbered(1000, 1200));
        log.Ingest();
        var file = log.Folder.PathOf(log.Folder.List()[^1]);
        using (var stream = File.OpenWrite(file))
        {
            stream.SetLength(stream.Length - tornBytes);
        }

        var next = Open();
        next.Found(run);
        Write(run, Numbered(300, 600));
        var lines = await ReadAsync(next);
        Assert.Equal(Enumerable.Range(0, 600).Select(Line), Texts(lines.Where(line => line.Stream == LogStream.Stdout)));
        Assert.Equal(Enumerable.Range(1000, 200).Select(Line), Texts(lines.Where(line => line.Stream == LogStream.Stderr)));
    }

    [Fact]
    public async Task An_agent_that_is_killed_before_the_first_line_leaves_the_instances_own_limits()
    {
        var run = Open().BeginRun(Small with { Files = 10 });
        Write(run, Numbered(0, 8000));
        var next = Open();
        next.Found(run);
        Assert.Equal(8000, (await ReadAsync(next)).Count);
        Assert.Equal(0, _skipped);
    }

    [Fact]
    public async Task A_new_run_goes_on_in_the_same_log()
    {
        var log = Open();
        Write(log.BeginRun(Small), "first run\n");
        log.EndRun();
        log.Ingest();
        var second = Open();
        Write(second.BeginRun(Small), "second run\n");
        Assert.Equal(["first run", "second run"], Texts(await ReadAsync(second)));
    }

    [Fact]
    public void What_was_taken_in_is_given_back_to_the_file_system()
    {
        var log = Open();
        var run = log.BeginRun(Small);
        Write(run, string.Concat(Enumerable.Repeat(new string('y', 999) + "\n", 2000)));
        while (log.Ingest())
        {
        }

        Assert.InRange(log.Freed(run, LogStream.Stdout), StreamLimits.FreeBytes, 2_000_000);
        Assert.Equal(2_000_000, new FileInfo(_raw.PathOf(Uid, run, LogStream.Stdout)).Length);
    }

    [Fact]
    public async Task More_than_would_be_kept_is_not_taken_in_at_all()
    {
        var log = Open();
        var run = log.BeginRun(Small);
        Write(run, Numbered(0, 100_000));
        while (log.Ingest())
        {
        }

        Assert.Equal(new FileInfo(_raw.PathOf(Uid, run, LogStream.Stdout)).Length - Small.Backlog, _skipped);
        Assert.Equal(Line(99_999), Texts(await ReadAsync(log))[^1]);
    }

    [Fact]
    public async Task Removal_ends_followers_and_leaves_nothing()
    {
        var log = Open();
        Write(log.BeginRun(Small), "x\n");
        var reader = new LogReader(log, new StreamLogsRequest { Follow = true }, 0).ReadAsync(Cancel).GetAsyncEnumerator(Cancel);
        Assert.True(await reader.MoveNextAsync());
        var end = reader.MoveNextAsync().AsTask();
        log.Remove();
        Assert.False(await end.WaitAsync(TimeSpan.FromSeconds(30), Cancel));
        Assert.Empty(Directory.EnumerateFiles(_scratch.Path, "*", SearchOption.AllDirectories));
    }

    [Theory]
    [InlineData(Uid + ".3.out", 3)]
    [InlineData(Uid + ".12.err", 12)]
    [InlineData(Uid + ".out", null)]
    [InlineData("lost+found", null)]
    public void A_file_names_its_instance_and_run(string name, int? run) => Assert.Equal(run, (int?)RawFiles.Parse(name)?.Run);

    private static string Line(int number) => number.ToString("D30", CultureInfo.InvariantCulture);

    private static string Numbered(int from, int to) => string.Concat(Enumerable.Range(from, to - from).Select(number => Line(number) + "\n"));

    private static string[] Texts(IEnumerable<LogLine> lines) => [.. lines.Select(line => line.Text.ToStringUtf8())];

    private static async Task<List<LogLine>> ReadAsync(InstanceLog log, StreamLogsRequest? options = null)
    {
        var lines = new List<LogLine>();
        await foreach (var answer in new LogReader(log, options ?? new StreamLogsRequest(), 0).ReadAsync(Cancel))
        {
            lines.AddRange(answer.Lines.Lines);
        }

        return lines;
    }

    private InstanceLog Open(LogLimits? limits = null) =>
        new(Uid, _raw, new LogFolder(_scratch[Uid]), limits ?? Small, _time, bytes => _skipped += bytes);

    private void Write(long run, string output, string errors = "")
    {
        File.AppendAllText(_raw.PathOf(Uid, run, LogStream.Stdout), output);
        File.AppendAllText(_raw.PathOf(Uid, run, LogStream.Stderr), errors);
    }
}
