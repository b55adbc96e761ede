namespace Hypervisor.Agent.Drivers.Libvirt;

/// <summary>Which libvirtd is used.</summary>
internal sealed record LibvirtOptions
{
    private const string SocketParameter = "socket=";
    private const string DefaultSocket = "/run/libvirt/libvirt-sock";

    /// <summary>A qemu:///system URI of this machine; <c>?socket=</c> names another socket.</summary>
    public required string Uri { get; init; }

    /// <summary>Where OVMF is; Debian's package puts it there.</summary>
    public string FirmwareDirectory { get; init; } = "/usr/share/OVMF";

    /// <summary>What libvirtd listens on.</summary>
    public string Socket => new UriBuilder(Uri).Query.TrimStart('?').Split('&')
        .Where(parameter => parameter.StartsWith(SocketParameter, StringComparison.Ordinal))
        .Select(parameter => System.Uri.UnescapeDataString(parameter[SocketParameter.Length..]))
        .FirstOrDefault(DefaultSocket);
}
