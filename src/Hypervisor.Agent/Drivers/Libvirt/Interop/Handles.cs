using Microsoft.Win32.SafeHandles;

namespace Hypervisor.Agent.Drivers.Libvirt.Interop;

/// <summary>virConnectPtr.</summary>
internal sealed class ConnectionHandle() : SafeHandleZeroOrMinusOneIsInvalid(ownsHandle: true)
{
    // Calls and domains hold references of their own; what is still counted is closed with the last of them.
    protected override bool ReleaseHandle() => NativeMethods.ConnectClose(handle) >= 0;
}

/// <summary>virDomainPtr.</summary>
internal sealed class DomainHandle() : SafeHandleZeroOrMinusOneIsInvalid(ownsHandle: true)
{
    public DomainHandle(nint domain)
        : this() => SetHandle(domain);

    protected override bool ReleaseHandle() => NativeMethods.DomainFree(handle) == 0;
}
