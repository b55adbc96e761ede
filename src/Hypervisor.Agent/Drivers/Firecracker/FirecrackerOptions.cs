using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Drivers.Firecracker;

/// <summary>What the Firecracker driver has to know about its node.</summary>
internal sealed record FirecrackerOptions
{
    /// <summary>The program: absolute, or looked for where programs are.</summary>
    public string Program { get; init; } = "firecracker";

    /// <summary>Null: guests run without a jail.</summary>
    public JailerOptions? Jailer { get; init; }

    /// <summary>What runs here, one file per guest; does not survive a reboot. Only root may enter.</summary>
    public string StateDirectory { get; init; } = "/run/hypervisor/firecracker";

    /// <summary>The cgroup above all guests, absolute in each hierarchy; that of containers may not be it.</summary>
    public string CgroupParent { get; init; } = "/hypervisor-microvms";

    /// <summary>Written pages are noted, so that a later snapshot may hold only those; costs the guest some speed.</summary>
    public bool TrackDirtyPages { get; init; }

    /// <summary>
    /// The accelerators it may be used with. Firecracker has KVM only; the stand-in of the tests has the other one.
    /// </summary>
    public IReadOnlyList<Accelerator> Accelerators { get; init; } = [Accelerator.Kvm];

    /// <summary>Its own counters are appended to a file of the guest, each minute and whenever it is asked to; nothing shortens that file.</summary>
    public bool Metrics { get; init; }
}

/// <summary>How guests are jailed.</summary>
internal sealed record JailerOptions
{
    /// <summary>The program: absolute, or looked for where programs are.</summary>
    public string Program { get; init; } = "jailer";

    /// <summary>Above all jails; on the file system of disks and images, which are linked into them. Only root may enter.</summary>
    public required string ChrootBase { get; init; }

    /// <summary>Each guest has a user of its own, from here on upwards, and the group of the same number.</summary>
    public uint FirstUser { get; init; } = 1_900_000_000;

    /// <summary>How many there are.</summary>
    public uint Users { get; init; } = 65_536;

    /// <summary>1 or 2: which cgroups the machine has.</summary>
    public int CgroupVersion { get; init; } = 2;

    /// <summary>A network namespace to enter, where the taps are; null: the agent's own.</summary>
    public string? NetworkNamespace { get; init; }
}
