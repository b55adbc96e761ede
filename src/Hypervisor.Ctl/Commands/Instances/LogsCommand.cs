using System.CommandLine;
using System.Globalization;
using System.Text;
using Google.Protobuf.WellKnownTypes;
using Hypervisor.Ctl.Completion;
using Hypervisor.Ctl.Errors;
using Hypervisor.Ctl.Output;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Ctl.Commands.Instances;

/// <summary>Prints what the main process wrote, both streams to standard output.</summary>
internal sealed class LogsCommand : CtlCommand
{
    private readonly Argument<string> _name = InstanceArguments.One();
    private readonly Option<bool> _follow = new("--follow", "-f") { Description = "Go on as long as the instance exists" };
    private readonly Option<long?> _tail = new("--tail") { Description = "Begin so many lines before the end", HelpName = "LINES" };
    private readonly Option<string> _since = new("--since") { Description = "Only what was written since, for example 5m or 2026-11-24T10:00:00Z", HelpName = "DURATION|TIME" };
    private readonly Option<bool> _timestamps = new("--timestamps") { Description = "Put the time before each line" };
    private readonly Option<bool> _stdout = new("--stdout") { Description = "Only standard output" };
    private readonly Option<bool> _stderr = new("--stderr") { Description = "Only standard error" };
    private readonly Option<bool> _raw = new("--raw") { Description = "Let control characters through to a terminal" };

    public override NameKind Completes => NameKind.Instances;

    public override void Declare(Command command)
    {
        command.Add(_name);
        foreach (var option in new System.CommandLine.Option[] { _follow, _tail, _since, _timestamps, _stdout, _stderr, _raw })
        {
            command.Add(option);
        }
    }

    public override async Task<int> RunAsync(Invocation invocation, CancellationToken cancellationToken)
    {
        invocation.Streaming = true;
        var environment = invocation.Environment;
        // Files and pipes get the bytes as they were written; a terminal would obey them.
        var printer = new LinePrinter(environment, environment.OutIsTerminal && !invocation.Get(_raw), invocation.Get(_timestamps));
        using var call = invocation.Compute.StreamLogs(Request(invocation), cancellationToken: cancellationToken);
        await OneStream.ReadAsync(invocation, call.ResponseStream, message =>
        {
            if (message.LostLines > 0)
            {
                environment.Error.WriteLine($"({message.LostLines} lines were removed by the log's limits before they were read)");
            }

            foreach (var line in message.Lines)
            {
                printer.Write(line);
            }

            printer.Flush();
        }, cancellationToken);
        return ExitCode.Done;
    }

    private StreamLogsRequest Request(Invocation invocation)
    {
        var request = new StreamLogsRequest
        {
            Project = invocation.Project,
            Instance = invocation.Get(_name)!,
            Follow = invocation.Get(_follow),
            Since = invocation.Get(_since) is { } since ? Timestamp.FromDateTimeOffset(Since(since, invocation.Environment.Time.GetUtcNow())) : null,
            Stream = (invocation.Get(_stdout), invocation.Get(_stderr)) switch
            {
                (true, false) => LogStream.Stdout,
                (false, true) => LogStream.Stderr,
                _ => LogStream.Unspecified,
            },
        };
        if (invocation.Get(_tail) is { } tail)
        {
            request.Tail = tail;
        }

        return request;
    }

    internal static DateTimeOffset Since(string text, DateTimeOffset now)
    {
        var unit = text.Length > 1 ? text[^1] switch { 's' => 1, 'm' => 60, 'h' => 3600, 'd' => 86_400, _ => 0 } : 0;
        if (unit > 0 && double.TryParse(text.AsSpan(0, text.Length - 1), NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var amount)
            && amount * unit <= 315_360_000)
        {
            return now - TimeSpan.FromSeconds(amount * unit);
        }

        return DateTimeOffset.TryParse(text, CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal | DateTimeStyles.AdjustToUniversal, out var time)
            ? time
            : throw CtlException.Usage($"--since: '{text}' is neither a duration (30s, 5m, 2h, 7d) nor a time (2026-11-24T10:00:00Z).");
    }

    /// <summary>A long line comes in parts, each stream's in order: only its first part begins a line, only its last one ends it.</summary>
    private sealed class LinePrinter(CtlEnvironment environment, bool clean, bool timestamps)
    {
        private readonly Decoder _decoder = Encoding.UTF8.GetDecoder();
        private readonly MemoryStream _pending = new();
        private LogStream? _continued;

        public void Write(LogLine line)
        {
            if (_continued is { } other && other != line.Stream)
            {
                // The other stream comes between: the long line is broken rather than mixed.
                _pending.WriteByte((byte)'\n');
                _continued = null;
            }

            if (timestamps && _continued is null)
            {
                _pending.Write(Encoding.ASCII.GetBytes(line.At.ToDateTime().ToString("O", CultureInfo.InvariantCulture) + " "));
            }

            line.Text.WriteTo(_pending);
            _continued = line.Partial ? line.Stream : null;
            if (!line.Partial)
            {
                _pending.WriteByte((byte)'\n');
            }
        }

        public void Flush()
        {
            var bytes = _pending.GetBuffer().AsSpan(0, (int)_pending.Length);
            if (!clean)
            {
                environment.RawOut.Write(bytes);
            }
            else
            {
                var characters = new char[Encoding.UTF8.GetMaxCharCount(bytes.Length)];
                var count = _decoder.GetChars(bytes, characters, flush: false);
                environment.Out.Write(TerminalText.CleanLines(new string(characters, 0, count)));
                environment.Out.Flush();
            }

            _pending.SetLength(0);
        }
    }
}
