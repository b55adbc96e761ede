namespace Hypervisor.Agent.Streams;

/// <summary>Every bound of what reaches into instances (exec, console, logs, statistics, copies), with its reason.</summary>
internal static class StreamLimits
{
    /// <summary>Into one instance: more are a client that leaks them. Each exec is also a process within the instance's own limit.</summary>
    public const int PerInstance = 32;

    /// <summary>Into all instances of the node; each costs some 100 KiB of buffers and up to four descriptors.</summary>
    public const int PerNode = 256;

    /// <summary>Tokens minted and not used yet.</summary>
    public const int Tokens = 512;

    /// <summary>A server opens the stream right after it was given the token.</summary>
    public static readonly TimeSpan TokenLife = TimeSpan.FromSeconds(10);

    /// <summary>What is read at once from a process: a pipe's own size.</summary>
    public const int ChunkBytes = 64 * 1024;

    /// <summary>Of one message from a client; as the contract says.</summary>
    public const int InputBytes = 64 * 1024;

    /// <summary>The first message of a stream follows its opening at once, or the peer is broken.</summary>
    public static readonly TimeSpan FirstMessage = TimeSpan.FromSeconds(10);

    /// <summary>
    /// A peer that takes nothing for so long is cut. A person may have stopped a pager meanwhile; a dead machine is found long before,
    /// by pings.
    /// </summary>
    public static readonly TimeSpan WriteStall = TimeSpan.FromMinutes(10);

    /// <summary>
    /// How long output may be silent after a process has ended before it is cut off: its own children may hold the pipe for ever.
    /// </summary>
    public static readonly TimeSpan AfterExit = TimeSpan.FromSeconds(2);

    /// <summary>Killing and removing the process of a stream that has ended.</summary>
    public static readonly TimeSpan CleanUp = TimeSpan.FromSeconds(30);

    /// <summary>Words of a command; as for an instance's own.</summary>
    public const int Arguments = 1024;

    /// <summary>What somebody who attaches to a console sees of before: a screen or two with their colours.</summary>
    public const int ScrollBackBytes = 64 * 1024;

    /// <summary>Between the two samples from which one answer computes its CPU share.</summary>
    public static readonly TimeSpan SampleGap = TimeSpan.FromMilliseconds(250);

    /// <summary>Of a log line; a longer one comes in parts. Docker's own.</summary>
    public const int LineBytes = 16 * 1024;

    /// <summary>Text of one message of log lines.</summary>
    public const int LogMessageBytes = 256 * 1024;

    /// <summary>Lines of one message: short ones cost more in their envelope than in text.</summary>
    public const int LogMessageLines = 2048;

    /// <summary>Taken in of one instance before the next one has its turn.</summary>
    public const int IngestTurnBytes = 1024 * 1024;

    /// <summary>A log file says so often how far it is: what has to be read after a restart to know where to go on.</summary>
    public const int CheckpointBytes = 256 * 1024;

    /// <summary>Blocks of the shim's file are given back once so much was taken in: each time costs a flush of the log.</summary>
    public const int FreeBytes = 1024 * 1024;

    /// <summary>Writes of processes are gathered for so long: bounds the work for one that writes byte by byte.</summary>
    public static readonly TimeSpan IngestDelay = TimeSpan.FromMilliseconds(20);

    /// <summary>After a failure to write logs (a full disk).</summary>
    public static readonly TimeSpan IngestRetry = TimeSpan.FromSeconds(2);

    /// <summary>Entries of one copy: a full distribution has some hundred thousand.</summary>
    public const int CopyEntries = 1_000_000;

    /// <summary>Folders within folders; each holds a descriptor while it is copied.</summary>
    public const int CopyDepth = 128;

    /// <summary>PATH_MAX without its terminator.</summary>
    public const int PathBytes = 4095;

    public const int CopyChunkBytes = 256 * 1024;
}
