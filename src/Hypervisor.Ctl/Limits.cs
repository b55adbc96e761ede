namespace Hypervisor.Ctl;

/// <summary>Every bound of the command line, with its reason.</summary>
internal static class Limits
{
    /// <summary>A unary call: above the slowest honest answer (a write that waits for a lagging view), below a person's patience.</summary>
    public static readonly TimeSpan CallTimeout = TimeSpan.FromSeconds(30);

    /// <summary>Connecting: a SYN lost twice is retried after 1 s and 3 s; beyond that nobody listens.</summary>
    public static readonly TimeSpan ConnectTimeout = TimeSpan.FromSeconds(5);

    /// <summary>How long a call that found the server unavailable is repeated: a restart of the server takes about a second.</summary>
    public static readonly TimeSpan RetryWindow = TimeSpan.FromSeconds(10);

    public static readonly TimeSpan FirstBackoff = TimeSpan.FromMilliseconds(100);

    public static readonly TimeSpan LongestBackoff = TimeSpan.FromSeconds(2);

    /// <summary>How long a watch may be without a server before it gives up; longer than a failover.</summary>
    public static readonly TimeSpan WatchReconnectWindow = TimeSpan.FromSeconds(60);

    /// <summary>HTTP/2 pings on streams: finds a server whose machine vanished without closing the connection.</summary>
    public static readonly TimeSpan KeepAliveDelay = TimeSpan.FromSeconds(15);

    public static readonly TimeSpan KeepAliveTimeout = TimeSpan.FromSeconds(10);

    /// <summary>What --timeout is when not given.</summary>
    public static readonly TimeSpan DefaultWait = TimeSpan.FromSeconds(60);

    /// <summary>Between two looks at a group that is waited for: members need seconds.</summary>
    public static readonly TimeSpan GroupPause = TimeSpan.FromMilliseconds(500);

    /// <summary>Names for the shell: a person is waiting between two keystrokes.</summary>
    public static readonly TimeSpan CompletionTimeout = TimeSpan.FromSeconds(1);

    /// <summary>Objects per page: about 1 MiB of full instances, well under <see cref="LargestMessageBytes"/>.</summary>
    public const int PageSize = 500;

    /// <summary>The largest answer taken: 500 instances of 64 KiB.</summary>
    public const int LargestMessageBytes = 32 * 1024 * 1024;

    /// <summary>The contract's own limit for one part of an archive; half of it keeps a whole message in the first 64 KiB windows soon.</summary>
    public const int ImportChunkBytes = 512 * 1024;

    /// <summary>A specification file; larger ones are surely something else.</summary>
    public const int LargestSpecBytes = 4 * 1024 * 1024;

    /// <summary>What exec and console read from standard input at once.</summary>
    public const int InputChunkBytes = 32 * 1024;

    /// <summary>Content of a file in one message of a copy; as the contract says.</summary>
    public const int CopyChunkBytes = 256 * 1024;

    /// <summary>Names offered to a shell.</summary>
    public const int CompletionNames = 500;

    /// <summary>How often a change of a node or group is made anew because somebody else was first: more than a few in a row is no coincidence.</summary>
    public const int ChangeAttempts = 5;
}
