namespace Hypervisor.Agent.Guests.Channel;

/// <summary>Every bound of what is exchanged with a guest's init, with its reason. Those that both sides must agree on are in init.h too.</summary>
internal static class ChannelLimits
{
    /// <summary>Of one frame: small enough that a stream of output delays no answer for long.</summary>
    public const int PayloadBytes = 16 * 1024;

    /// <summary>On its way in each direction of a stream: a pipe's own size.</summary>
    public const int CreditBytes = 64 * 1024;

    /// <summary>Records of a config drive or a request; as execve(2) has it, give or take.</summary>
    public const int RecordsBytes = 1 << 20;

    /// <summary>Words, variables and servers of one process.</summary>
    public const int Words = 8192;

    /// <summary>Of the text with which a guest explains itself.</summary>
    public const int MessageBytes = 256;

    /// <summary>The guest has room for so many additional processes.</summary>
    public const int Sessions = 48;

    /// <summary>The monitor's socket takes connections as soon as it is there.</summary>
    public static readonly TimeSpan Connect = TimeSpan.FromSeconds(5);

    /// <summary>The init greets in a millisecond, once it runs: a guest that boots under emulation on a busy node takes many seconds.</summary>
    public static readonly TimeSpan Hello = TimeSpan.FromSeconds(10);

    /// <summary>Of what the init does by itself.</summary>
    public static readonly TimeSpan Answer = TimeSpan.FromSeconds(10);

    /// <summary>Starting a program: it may have to be read from a slow disk.</summary>
    public static readonly TimeSpan Start = TimeSpan.FromSeconds(30);

    /// <summary>Freezing writes everything that is dirty to the disk first.</summary>
    public static readonly TimeSpan Freeze = TimeSpan.FromSeconds(60);

    /// <summary>Between attempts to reach a guest that boots.</summary>
    public static readonly TimeSpan Retry = TimeSpan.FromMilliseconds(20);
}
