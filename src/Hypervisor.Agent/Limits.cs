namespace Hypervisor.Agent;

/// <summary>Every bound of the agent, with the reason beside it.</summary>
internal static class Limits
{
    /// <summary>As <c>ReportStatusRequest.reports</c> says; the server writes a batch in a few store transactions.</summary>
    public const int ReportsPerBatch = 256;

    /// <summary>Names of devices in the configuration, and the count of each: as the server's limits say.</summary>
    public const int Devices = 32;

    /// <summary>Likewise.</summary>
    public const int DeviceCount = 1024;

    /// <summary>Of an instance's answer to a health check: 64 KiB would be kept for each of a thousand.</summary>
    public const int HealthHeaderKibibytes = 16;

    /// <summary>Commands of health checks at once; more wait, which counts for no check. Each makes the runtime start a process.</summary>
    public const int ConcurrentExecChecks = 8;

    /// <summary>Of the end of what a health check's command wrote, in bytes: a sentence for the status.</summary>
    public const int HealthOutputBytes = 256;

    /// <summary>How long output may lag behind the end of a health check's command; its own children may hold it for ever.</summary>
    public static readonly TimeSpan HealthOutputWait = TimeSpan.FromSeconds(1);

    /// <summary>Between two statuses that differ only in what a failing check said: some say the time.</summary>
    public static readonly TimeSpan HealthMessageInterval = TimeSpan.FromMinutes(1);

    /// <summary>Spans that wait to be sent: a thousand starts in one interval; more are dropped, as OpenTelemetry's own exporters do.</summary>
    public const int WaitingSpans = 4096;

    /// <summary>Between two exports of spans.</summary>
    public static readonly TimeSpan SpanInterval = TimeSpan.FromSeconds(2);

    /// <summary>Of one export; also how much longer the agent takes to end when its collector is away.</summary>
    public static readonly TimeSpan SpanDeadline = TimeSpan.FromSeconds(3);

    /// <summary>Above it the list is cut: a node that holds this many unknown instances has one cause, not a thousand.</summary>
    public const int UnclaimedReported = 1000;

    /// <summary>Of what unclaimed instances were made from. The whole list becomes one value of the store, of 1 MiB at most.</summary>
    public const int UnclaimedBytes = 512 * 1024;

    /// <summary>
    /// Creates and starts at once of one runtime: a mute one delays no other's. More do not finish sooner (runtimes serialise on the kernel's mount and network locks) and
    /// each holds a few megabytes in the runtime. Stops and removals are never held back.
    /// </summary>
    public const int ConcurrentStarts = 16;

    /// <summary>Removed epochs remembered against late assignments; a stream of that many deletions is minutes long.</summary>
    public const int RememberedRemovals = 4096;

    /// <summary>Beats sent and not yet acknowledged; the stream is given up long before, this only bounds the list.</summary>
    public const int OutstandingBeats = 64;

    /// <summary>Of a status message, in characters: a runtime's error may hold a whole log.</summary>
    public const int StatusMessageLength = 1024;

    /// <summary>Of what should have been a uid, in characters: enough to find it, and no more of it in the log.</summary>
    public const int LoggedUidLength = 64;

    /// <summary>Identity file, in bytes; it holds five short fields.</summary>
    public const int IdentityFileBytes = 64 * 1024;

    /// <summary>gRPC messages in either direction; the largest is a blob's part of 1 MiB.</summary>
    public const int MessageBytes = 4 * 1024 * 1024;

    /// <summary>Console, exec and log streams of the server plus its health checks.</summary>
    public const int ApiConnections = 256;

    /// <summary>A status that will be replaced by the next step is kept back this long: most starts need one write, not two.</summary>
    public static readonly TimeSpan TransitionalReportDelay = TimeSpan.FromMilliseconds(150);

    /// <summary>First wait after a failed attempt; doubles up to <see cref="RetryMaximum"/>.</summary>
    public static readonly TimeSpan RetryMinimum = TimeSpan.FromMilliseconds(200);

    public static readonly TimeSpan RetryMaximum = TimeSpan.FromSeconds(30);

    /// <summary>Before a process that ended is started again by its policy; doubles with each short run up to <see cref="RestartMaximum"/>.</summary>
    public static readonly TimeSpan RestartMinimum = TimeSpan.FromSeconds(1);

    public static readonly TimeSpan RestartMaximum = TimeSpan.FromMinutes(2);

    /// <summary>A run this long was no failed start: the next wait is the shortest again.</summary>
    public static readonly TimeSpan StableRun = TimeSpan.FromMinutes(2);

    /// <summary>Bounds the wait for a server that came back: a lease is 5 s, so a second heartbeat attempt must fit in it.</summary>
    public static readonly TimeSpan ReconnectMaximum = TimeSpan.FromSeconds(2);

    /// <summary>Unary calls to the control plane.</summary>
    public static readonly TimeSpan CallDeadline = TimeSpan.FromSeconds(10);

    /// <summary>ResolveImage, which waits for a registry: longer than the control plane's own deadline, whose words are better.</summary>
    public static readonly TimeSpan ResolveDeadline = TimeSpan.FromSeconds(60);

    /// <summary>One blob of an image; 20 GiB at 25 MiB/s.</summary>
    public static readonly TimeSpan BlobDeadline = TimeSpan.FromMinutes(15);

    /// <summary>
    /// An assignment stream is opened anew after this long, with everything sent again: whatever a library or a peer lost
    /// without a word is then found.
    /// </summary>
    public static readonly TimeSpan AssignmentStreamLifetime = TimeSpan.FromMinutes(10);

    /// <summary>HTTP/2 PING on silence, and how long its answer may take: notices a peer that is gone without a FIN.</summary>
    public static readonly TimeSpan KeepAlivePingDelay = TimeSpan.FromSeconds(5);

    public static readonly TimeSpan KeepAlivePingTimeout = TimeSpan.FromSeconds(5);

    /// <summary>Runtimes and network are compared with what should be there this often, although nothing hinted at a change.</summary>
    public static readonly TimeSpan ResyncInterval = TimeSpan.FromSeconds(30);

    /// <summary>Runtimes are probed this often; a change is registered.</summary>
    public static readonly TimeSpan ProbeInterval = TimeSpan.FromSeconds(30);

    /// <summary>Between two writes of the identity file that only raise the versions seen.</summary>
    public static readonly TimeSpan IdentitySaveInterval = TimeSpan.FromSeconds(10);

    /// <summary>Looking at a runtime or at the network: local calls that answer in milliseconds.</summary>
    public static readonly TimeSpan ObserveDeadline = TimeSpan.FromSeconds(10);

    /// <summary>Image, network and everything else before a process, a large image from a slow server included.</summary>
    public static readonly TimeSpan CreateDeadline = TimeSpan.FromMinutes(30);

    /// <summary>Start, pause, resume, and a kill with everything that goes with it.</summary>
    public static readonly TimeSpan ActionDeadline = TimeSpan.FromMinutes(1);

    /// <summary>Writing a guest's memory to disk: 256 GiB at 400 MiB/s.</summary>
    public static readonly TimeSpan SuspendDeadline = TimeSpan.FromMinutes(11);

    /// <summary>As of a suspend, and copies of raw disks: 500 GiB at 300 MiB/s.</summary>
    public static readonly TimeSpan SnapshotDeadline = TimeSpan.FromMinutes(40);

    /// <summary>On shutdown; instances are not stopped, so only calls in flight are waited for.</summary>
    public static readonly TimeSpan ShutdownTimeout = TimeSpan.FromSeconds(5);
}
