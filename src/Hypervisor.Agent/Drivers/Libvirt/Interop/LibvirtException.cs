using System.Runtime.InteropServices;

namespace Hypervisor.Agent.Drivers.Libvirt.Interop;

/// <summary>libvirt refused, in its own words.</summary>
internal sealed class LibvirtException(int code, string message) : Exception(message)
{
    /// <summary>virErrorNumber (virterror.h).</summary>
    public int Code => code;

    public bool NoDomain => code == 42;

    public bool NoMetadata => code == 80;

    /// <summary>Not in a state in which it could be: it does not run.</summary>
    public bool NotRunning => code == 55;

    /// <summary>The specification, not the node, is at fault: XML_ERROR, XML_DETAIL, CONFIG_UNSUPPORTED, XML_INVALID_SCHEMA, XML_INCONSISTENT.</summary>
    public bool IsOfDefinition => code is 27 or 35 or 67 or 84 or 99;

    /// <summary>For the last call of this very thread.</summary>
    public static LibvirtException OfThisThread() =>
        new(NativeMethods.LastErrorCode(), Marshal.PtrToStringUTF8(NativeMethods.LastErrorMessage()) ?? "libvirt does not say why");
}
