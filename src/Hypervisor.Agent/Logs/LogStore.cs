using Hypervisor.Agent.Streams;
using Hypervisor.Hosting.Waiting;
using Hypervisor.Protocol;

namespace Hypervisor.Agent.Logs;

/// <summary>The logs of all instances of this node. They survive the agent, a reboot and their instance's stop, and go with the instance.</summary>
internal sealed partial class LogStore : IDisposable
{
    private readonly string _directory;
    private readonly LogLimits _limits;
    private readonly TimeProvider _time;
    private readonly ILogger _logger;
    private readonly RawFiles _raw;
    private readonly Lock _gate = new();
    private readonly Dictionary<string, InstanceLog> _logs = new(StringComparer.Ordinal);
    private readonly HashSet<string> _dirty = new(StringComparer.Ordinal);
    private readonly Signal _work = new();
    private readonly CancellationTokenSource _stopping = new();
    private RawWatch? _watch;
    private Task _ingesting = Task.CompletedTask;

    /// <param name="directory">Touched only once something is logged or looked for.</param>
    public LogStore(string directory, LogLimits limits, TimeProvider time, ILogger<LogStore> logger)
    {
        (_directory, _limits, _time, _logger) = (directory, limits, time, logger);
        _raw = new RawFiles(Path.Combine(directory, "raw"));
    }

    public LogLimits Limits => _limits;

    /// <summary>Ids of instances that have logs.</summary>
    public IReadOnlyList<string> List() => Directory.Exists(_directory)
        ? [.. Directory.EnumerateDirectories(_directory).Select(path => Path.GetFileName(path)!).Where(name => Guid.TryParseExact(name, "D", out _))]
        : [];

    public bool Exists(string uid) => Directory.Exists(Path.Combine(_directory, uid));

    public InstanceLog Of(InstanceId id) => Of(id.Value);

    /// <summary>The files that the shim of a process about to be started shall append to.</summary>
    public (long Run, string Output, string Error) BeginRun(string uid, LogLimits limits)
    {
        var run = Of(uid).BeginRun(limits);
        return (run, _raw.PathOf(uid, run, Protocol.V1.LogStream.Stdout), _raw.PathOf(uid, run, Protocol.V1.LogStream.Stderr));
    }

    public void CancelRun(string uid, long run) => Of(uid).CancelRun(run);

    public void EndRun(string uid)
    {
        Of(uid).EndRun();
        MarkDirty(uid);
    }

    public void Remove(string uid)
    {
        InstanceLog log;
        lock (_gate)
        {
            log = Of(uid);
            _logs.Remove(uid);
        }

        log.Remove();
    }

    public void Dispose()
    {
        _stopping.Cancel();
        _watch?.Dispose();
        try
        {
            _ingesting.GetAwaiter().GetResult();
        }
        catch (OperationCanceledException)
        {
            // As asked.
        }

        _stopping.Dispose();
    }

    private InstanceLog Of(string uid)
    {
        lock (_gate)
        {
            Start();
            if (!_logs.TryGetValue(uid, out var log))
            {
                _logs.Add(uid, log = Make(uid));
            }

            return log;
        }
    }

    private InstanceLog Make(string uid) => new(
        uid, _raw, new LogFolder(Path.Combine(_directory, uid)), _limits, _time, bytes => LogSkipped(uid, bytes));

    /// <summary>On the first use: from then on everything that is written is taken in, also what was written while there was no agent.</summary>
    private void Start()
    {
        if (_watch is not null)
        {
            return;
        }

        _raw.CreateFolder();
        _watch = new RawWatch(_raw.Directory, name =>
        {
            if (name is null)
            {
                MarkAllDirty();
            }
            else if (RawFiles.Parse(name) is { } found)
            {
                MarkDirty(found.Uid);
            }
        });
        foreach (var runs in _raw.List())
        {
            var log = Make(runs.Key);
            foreach (var run in runs)
            {
                log.Found(run);
            }

            _logs.Add(runs.Key, log);
            _dirty.Add(runs.Key);
        }

        _work.Set();
        _ingesting = Task.Run(() => IngestAsync(_stopping.Token));
    }

    private void MarkDirty(string uid)
    {
        lock (_gate)
        {
            _dirty.Add(uid);
        }

        _work.Set();
    }

    private void MarkAllDirty()
    {
        lock (_gate)
        {
            _dirty.UnionWith(_logs.Keys);
        }

        _work.Set();
    }

    private async Task IngestAsync(CancellationToken cancellationToken)
    {
        while (true)
        {
            await _work.WaitAsync(cancellationToken);
            List<InstanceLog> turn;
            lock (_gate)
            {
                turn = [.. _dirty.Where(_logs.ContainsKey).Select(uid => _logs[uid])];
                _dirty.Clear();
            }

            var delay = StreamLimits.IngestDelay;
            foreach (var log in turn)
            {
                try
                {
                    if (log.Ingest())
                    {
                        MarkDirty(log.Uid);
                    }
                }
                catch (Exception failure)
                {
                    // A full disk above all: it is tried again until it succeeds.
                    LogFailed(log.Uid, failure.Message);
                    MarkDirty(log.Uid);
                    delay = StreamLimits.IngestRetry;
                }
            }

            await Task.Delay(delay, _time, cancellationToken);
        }
    }

    [LoggerMessage(Level = LogLevel.Warning, Message = "The output of instance {Instance} was written faster than it could be kept, or while no agent ran: {Bytes} bytes of it were left out")]
    private partial void LogSkipped(string instance, long bytes);

    [LoggerMessage(Level = LogLevel.Warning, Message = "The log of instance {Instance} cannot be written ({Reason}); what its process writes stays in the shim's file meanwhile")]
    private partial void LogFailed(string instance, string reason);
}
