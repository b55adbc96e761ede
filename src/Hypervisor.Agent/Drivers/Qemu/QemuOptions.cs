namespace Hypervisor.Agent.Drivers.Qemu;

/// <summary>How QEMU is run for microVMs.</summary>
internal sealed record QemuOptions
{
    /// <summary>Absolute, or looked for where programs of VMMs are.</summary>
    public string Program { get; init; } = "qemu-system-x86_64";

    /// <summary>The records of what runs; does not survive a reboot.</summary>
    public required string StateDirectory { get; init; }

    /// <summary>The cgroup above those of guests, absolute in each hierarchy.</summary>
    public required string CgroupParent { get; init; }
}
