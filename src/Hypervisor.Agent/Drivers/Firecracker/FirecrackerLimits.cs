namespace Hypervisor.Agent.Drivers.Firecracker;

/// <summary>Every bound of the Firecracker driver, with its reason.</summary>
internal static class FirecrackerLimits
{
    /// <summary>For questions about its state, answered in a millisecond: all guests are asked when the node is looked at.</summary>
    public static readonly TimeSpan Look = TimeSpan.FromSeconds(2);

    /// <summary>For a setting: it opens a file or a device.</summary>
    public static readonly TimeSpan Call = TimeSpan.FromSeconds(10);

    /// <summary>For a start or a load: reads a kernel of 50 MB from a disk that may be busy.</summary>
    public static readonly TimeSpan Start = TimeSpan.FromSeconds(60);

    /// <summary>From the start of the process to its socket: 10 ms, seconds when thirty start at once on two cores.</summary>
    public static readonly TimeSpan Socket = TimeSpan.FromSeconds(20);

    /// <summary>Between looks for the socket of a process that has just been started.</summary>
    public static readonly TimeSpan SocketPoll = TimeSpan.FromMilliseconds(2);

    /// <summary>How slowly memory may be written: a hard disk that others use too.</summary>
    public const long SlowestBytesPerSecond = 20L << 20;

    /// <summary>Its answers are one small object; the full configuration of a machine is some KiB.</summary>
    public const int AnswerBytes = 64 << 10;

    /// <summary>Of a fault message that is passed on to users.</summary>
    public const int MessageCharacters = 300;

    /// <summary>Virtual CPUs of one machine (its own limit).</summary>
    public const int VirtualCpus = 32;

    /// <summary>Drives of one machine: it has interrupts for some thirty devices, of which five are others.</summary>
    public const int Drives = 24;

    /// <summary>What the kernel takes of a command line on x86-64.</summary>
    public const int CommandLineBytes = 2047;

    /// <summary>--id: its own limit.</summary>
    public const int IdCharacters = 64;

    /// <summary>Records are a few hundred bytes.</summary>
    public const int RecordBytes = 16 << 10;

    /// <summary>Device state of a snapshot: tens of KiB, and some more for each queue.</summary>
    public const long StateBytes = 16L << 20;

    /// <summary>How much of what it wrote before it died is told.</summary>
    public const int LastWordsBytes = 2048;

    /// <summary>In a jail only the driver's own links and files are expected; a guest that broke out may have made more.</summary>
    public const int JailDepth = 64;

    /// <summary>`firecracker --version` prints two lines at once.</summary>
    public static readonly TimeSpan Version = TimeSpan.FromSeconds(2);

    /// <summary>A guest's way to user space takes half a second; where KVM does not work it never ends.</summary>
    public static readonly TimeSpan Trial = TimeSpan.FromSeconds(30);

    /// <summary>The memory of a machine that is being saved.</summary>
    public static TimeSpan Save(long memoryBytes) => Start + TimeSpan.FromSeconds((double)memoryBytes / SlowestBytesPerSecond);
}
