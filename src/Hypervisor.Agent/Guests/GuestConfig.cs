using System.Net;

namespace Hypervisor.Agent.Guests;

/// <summary>What a guest with our init is told on its config drive: everything that the same image run as a container would be given.</summary>
internal sealed record GuestConfig
{
    /// <summary>Grows with each start; the exit status on the drive names the run it is of, so that one of an earlier run is not taken for it.</summary>
    public required long Run { get; init; }

    public required string Uid { get; init; }

    public required string Hostname { get; init; }

    /// <summary>Null without a network.</summary>
    public GuestAddress? Address { get; init; }

    public IReadOnlyList<string> DnsServers { get; init; } = [];

    public IReadOnlyList<string> DnsSearch { get; init; } = [];

    /// <summary>Program and arguments, merged from image and specification; the program is looked for in PATH of <see cref="Environment"/>.</summary>
    public required IReadOnlyList<string> Arguments { get; init; }

    /// <summary>"NAME=value", later wins.</summary>
    public IReadOnlyList<string> Environment { get; init; } = [];

    /// <summary>Absolute; made when the image lacks it.</summary>
    public string WorkingDirectory { get; init; } = "/";

    /// <summary>"user", "uid", "user:group", "uid:gid", looked up in the image's own files by the init; empty means root.</summary>
    public string User { get; init; } = "";

    public bool Terminal { get; init; }

    public bool Stdin { get; init; }

    public bool ReadOnlyRoot { get; init; }

    /// <summary>Processes and threads of the main process and its children; 0 means no limit.</summary>
    public long PidsLimit { get; init; }

    /// <summary>32 hexadecimal digits for /etc/machine-id, where the image has one; empty leaves the image's.</summary>
    public string MachineId { get; init; } = "";

    /// <summary>Wait after everything was set up, before the entry point runs, for the agent's word on the channel (warm starts).</summary>
    public bool HoldBeforeStart { get; init; }

    /// <summary>How large the config drive is at least; 0 for as large as it has to be.</summary>
    public int DriveBytes { get; init; }
}

internal sealed record GuestAddress(IPAddress Address, int PrefixLength, IPAddress Gateway, string HardwareAddress, int Mtu);
