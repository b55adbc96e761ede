namespace Hypervisor.Agent.Drivers.Qemu;

/// <summary>Every bound of the QEMU driver, with its reason.</summary>
internal static class QemuLimits
{
    /// <summary>One message of QEMU's monitor, in bytes: the answers that are read are short, and a list of a hundred devices is 100 KiB.</summary>
    public const int MessageBytes = 1024 * 1024;

    /// <summary>Messages that are no answer (events, left-overs of an earlier client) before one: a device that fails all the time tells so each time.</summary>
    public const int MessagesBeforeAnswer = 1000;

    /// <summary>A record, in bytes; it holds a few paths.</summary>
    public const int RecordBytes = 64 * 1024;

    /// <summary>Of what QEMU says at its end, in characters: a sentence for the status.</summary>
    public const int LastWords = 400;

    /// <summary>From exec to an answer of the monitor: 35 ms when nothing else runs, and a machine full of starts is a hundred times slower.</summary>
    public static readonly TimeSpan Start = TimeSpan.FromSeconds(20);

    /// <summary>Between looks for a monitor that is not there yet, each of which costs some microseconds.</summary>
    public static readonly TimeSpan StartPoll = TimeSpan.FromMilliseconds(1);

    /// <summary>With every so many of them it is seen whether the process is still there, which costs more.</summary>
    public const int StartLook = 20;

    /// <summary>A command: they are answered at once, unless QEMU waits for a disk.</summary>
    public static readonly TimeSpan Command = TimeSpan.FromSeconds(5);

    /// <summary>Memory from or to the disk: 256 GiB at 400 MiB/s.</summary>
    public static readonly TimeSpan Transfer = TimeSpan.FromMinutes(11);

    public static readonly TimeSpan TransferPoll = TimeSpan.FromMilliseconds(10);

    /// <summary>Of what is left when the memory is in a file, which takes a few milliseconds.</summary>
    public static readonly TimeSpan ShortTransferPoll = TimeSpan.FromMilliseconds(1);

    /// <summary>qemu --version.</summary>
    public static readonly TimeSpan Version = TimeSpan.FromSeconds(5);

    /// <summary>A guest's way to user space with KVM takes half a second; where KVM does not work it never ends.</summary>
    public static readonly TimeSpan KvmTrial = TimeSpan.FromSeconds(10);

    /// <summary>Likewise under software emulation, which takes two seconds on a machine that does nothing else.</summary>
    public static readonly TimeSpan TcgTrial = TimeSpan.FromSeconds(30);

    /// <summary>Of what a trial's console and QEMU say that is looked at: a quiet kernel says nothing.</summary>
    public const int TrialBytes = 64 * 1024;
}
