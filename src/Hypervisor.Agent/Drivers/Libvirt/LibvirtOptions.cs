namespace Hypervisor.Agent.Drivers.Libvirt;

/// <summary>Which libvirtd is used.</summary>
internal sealed record LibvirtOptions
{
    private const string SocketParameter = "socket=";

    /// <summary>A qemu:///system URI of this machine; <c>?socket=</c> names another socket.</summary>
    public required string Uri { get; init; }

    /// <summary>Which guests libvirtd may hold; survives a reboot, as its definitions do.</summary>
    public required string StateDirectory { get; init; }

    /// <summary>Where OVMF is; Debian's package puts it there.</summary>
    public string FirmwareDirectory { get; init; } = "/usr/share/OVMF";

    /// <summary>What libvirtd listens on; without one in the URI, where libvirtd or virtqemud has its own.</summary>
    public string Socket => Named ?? (File.Exists(DaemonOfQemu) && !File.Exists(Daemon) ? DaemonOfQemu : Daemon);

    private static string Daemon => "/run/libvirt/libvirt-sock";

    private static string DaemonOfQemu => "/run/libvirt/virtqemud-sock";

    private string? Named => new UriBuilder(Uri).Query.TrimStart('?').Split('&')
        .Where(parameter => parameter.StartsWith(SocketParameter, StringComparison.Ordinal))
        .Select(parameter => System.Uri.UnescapeDataString(parameter[SocketParameter.Length..]))
        .FirstOrDefault();
}
