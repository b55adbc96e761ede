namespace Hypervisor.Agent.Guests;

/// <summary>Every bound of what VMMs share, with its reason.</summary>
internal static class GuestLimits
{
    /// <summary>A reason: the VMM, or its process, did not do what it should.</summary>
    public const string VmmFailed = "VmmFailed";

    /// <summary>From SIGKILL to the end of the process: longer only while it sleeps uninterruptibly (a disk that hangs).</summary>
    public static readonly TimeSpan Kill = TimeSpan.FromSeconds(15);

    /// <summary>Between looks at a process that was killed.</summary>
    public static readonly TimeSpan KillPoll = TimeSpan.FromMilliseconds(5);

    /// <summary>Hints that guests have ended: more than guests on a node, and a look at all of them finds what was dropped.</summary>
    public const int EndedGuests = 4096;

    /// <summary>"OK 1073741824\n" and a bit: what a VMM answers to CONNECT.</summary>
    public const int HandshakeBytes = 32;
}
