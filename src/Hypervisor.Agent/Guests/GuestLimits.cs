namespace Hypervisor.Agent.Guests;

/// <summary>Every bound of what VMMs share, with its reason.</summary>
internal static class GuestLimits
{
    /// <summary>A reason: the VMM, or its process, did not do what it should.</summary>
    public const string VmmFailed = "VmmFailed";

    /// <summary>A reason: the VMM does not answer. Never taken for "nothing there".</summary>
    public const string Unavailable = "RuntimeUnavailable";

    /// <summary>From SIGKILL to the end of the process: longer only while it sleeps uninterruptibly (a disk that hangs).</summary>
    public static readonly TimeSpan Kill = TimeSpan.FromSeconds(15);

    /// <summary>Between looks at a process that was killed.</summary>
    public static readonly TimeSpan KillPoll = TimeSpan.FromMilliseconds(5);

    /// <summary>Hints that guests have ended: more than guests on a node, and a look at all of them finds what was dropped.</summary>
    public const int EndedGuests = 4096;

    /// <summary>"OK 1073741824\n" and a bit: what a VMM answers to CONNECT.</summary>
    public const int HandshakeBytes = 32;

    /// <summary>A record of a guest, in bytes: an assignment is at most 1.5 MiB, and a third longer as text; its process is in it twice.</summary>
    public const int RecordBytes = 8 * 1024 * 1024;

    /// <summary>Of the serial console's end that is looked at for a status: some lines of a kernel's panic.</summary>
    public const int LastWordsBytes = 2048;

    public const int LastWordsLines = 6;

    /// <summary>What an instance without a limit gets: a kernel with its tables, and room for a program.</summary>
    public const long DefaultMemoryBytes = 256L * 1024 * 1024;

    /// <summary>Short runs without an exit status in a row, from which on they are shown and waited between: fewer may be bad luck.</summary>
    public const int CrashesUntilShown = 3;

    /// <summary>From the VMM's start to the init's first word. Software emulation on a loaded machine takes some ten seconds; a start has a minute in all.</summary>
    public static readonly TimeSpan Boot = TimeSpan.FromSeconds(45);

    /// <summary>Between looks at a guest that is to end; before the second look at one that is to boot.</summary>
    public static readonly TimeSpan StatePoll = TimeSpan.FromMilliseconds(50);

    /// <summary>The longest between looks at a guest that is to boot, each of which costs a millisecond: ten that boot at once leave a node little time.</summary>
    public static readonly TimeSpan BootPoll = TimeSpan.FromMilliseconds(500);

    /// <summary>For the init's answer to a signal: one that takes longer is asked by its power button.</summary>
    public static readonly TimeSpan Signal = TimeSpan.FromSeconds(5);

    /// <summary>After which a frozen guest writes again by itself: pausing it takes a moment, on a busy node some seconds.</summary>
    public static readonly TimeSpan Frozen = TimeSpan.FromSeconds(20);

    /// <summary>For the answer to a freeze, which has everything written first: a guest that has more to write is not waited for.</summary>
    public static readonly TimeSpan Freeze = TimeSpan.FromSeconds(15);

    /// <summary>So long a guest's own agent is asked to let its system write again: one that has not answered by then was not frozen, or is gone.</summary>
    public static readonly TimeSpan Thaw = TimeSpan.FromMinutes(10);

    /// <summary>Between two presses of a guest's power button: a system that heard the first one is busy ending and minds no other.</summary>
    public static readonly TimeSpan PressAgain = TimeSpan.FromSeconds(10);

    /// <summary>Between attempts to reach the agent of a guest that is to end.</summary>
    public static readonly TimeSpan ThawPoll = TimeSpan.FromMilliseconds(500);

    /// <summary>Between questions to a guest without our init for its use of memory, each of which wakes it. Whole seconds.</summary>
    public static readonly TimeSpan BalloonInterval = TimeSpan.FromSeconds(5);

    /// <summary>What a guest said of its memory holds so long: a few intervals, for a busy one answers late.</summary>
    public static readonly TimeSpan BalloonAge = 4 * BalloonInterval;

    /// <summary>Free on the disk before a guest that it had no room for goes on: some clusters of a qcow2 and of what else is written.</summary>
    public const long RoomToGoOn = 1024 * 1024;

    /// <summary>What was found out about accelerators, in bytes; a few words.</summary>
    public const int FindingBytes = 64 * 1024;

    /// <summary>Before guests are tried again on a node where none ran: each attempt costs a CPU for half a minute.</summary>
    public static readonly TimeSpan TrialInterval = TimeSpan.FromMinutes(5);

    /// <summary>After a start of the agent that remembers that KVM does not work: instances that wait for it come first.</summary>
    public static readonly TimeSpan KvmAgain = TimeSpan.FromSeconds(30);

    /// <summary>What the first registration waits for it: a trial under software emulation takes two seconds, and a cached finding none.</summary>
    public static readonly TimeSpan TrialWait = TimeSpan.FromSeconds(5);
}
