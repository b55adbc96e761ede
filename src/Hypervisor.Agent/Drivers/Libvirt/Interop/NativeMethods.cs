using System.Runtime.InteropServices;

namespace Hypervisor.Agent.Drivers.Libvirt.Interop;

/// <summary>The calls of libvirt's C API that are used, as https://libvirt.org/html/ documents them.</summary>
/// <remarks>A result of -1, or null, is an error whose text belongs to the calling thread: <see cref="LibvirtException.OfThisThread"/>.</remarks>
internal static unsafe partial class NativeMethods
{
    public const string Library = "libvirt.so.0";

    public const int EventLifecycle = 0;

    [LibraryImport(Library, EntryPoint = "virInitialize")]
    public static partial int Initialize();

    [LibraryImport(Library, EntryPoint = "virSetErrorFunc")]
    public static partial void SetErrorFunction(nint userData, delegate* unmanaged<nint, nint, void> handler);

    [LibraryImport(Library, EntryPoint = "virGetLastErrorCode")]
    public static partial int LastErrorCode();

    [LibraryImport(Library, EntryPoint = "virGetLastErrorMessage")]
    public static partial nint LastErrorMessage();

    [LibraryImport(Library, EntryPoint = "virEventRegisterDefaultImpl")]
    public static partial int EventRegisterDefault();

    [LibraryImport(Library, EntryPoint = "virEventRunDefaultImpl")]
    public static partial int EventRunDefault();

    [LibraryImport(Library, EntryPoint = "virEventAddTimeout")]
    public static partial int EventAddTimeout(int milliseconds, delegate* unmanaged<int, nint, void> elapsed, nint opaque, nint free);

    [LibraryImport(Library, EntryPoint = "virConnectOpen", StringMarshalling = StringMarshalling.Utf8)]
    public static partial ConnectionHandle ConnectOpen(string uri);

    [LibraryImport(Library, EntryPoint = "virConnectClose")]
    public static partial int ConnectClose(nint connection);

    [LibraryImport(Library, EntryPoint = "virConnectIsAlive")]
    public static partial int ConnectIsAlive(ConnectionHandle connection);

    [LibraryImport(Library, EntryPoint = "virConnectSetKeepAlive")]
    public static partial int ConnectSetKeepAlive(ConnectionHandle connection, int intervalSeconds, uint count);

    [LibraryImport(Library, EntryPoint = "virConnectGetLibVersion")]
    public static partial int ConnectGetLibVersion(ConnectionHandle connection, nuint* version);

    [LibraryImport(Library, EntryPoint = "virConnectRegisterCloseCallback")]
    public static partial int ConnectRegisterClose(ConnectionHandle connection, delegate* unmanaged<nint, int, nint, void> closed, nint opaque, nint free);

    [LibraryImport(Library, EntryPoint = "virConnectUnregisterCloseCallback")]
    public static partial int ConnectUnregisterClose(ConnectionHandle connection, delegate* unmanaged<nint, int, nint, void> closed);

    [LibraryImport(Library, EntryPoint = "virConnectDomainEventRegisterAny")]
    public static partial int ConnectRegisterEvent(
        ConnectionHandle connection, nint domain, int id, delegate* unmanaged<nint, nint, int, int, nint, void> happened, nint opaque, nint free);

    [LibraryImport(Library, EntryPoint = "virConnectDomainEventDeregisterAny")]
    public static partial int ConnectDeregisterEvent(ConnectionHandle connection, int callback);

    [LibraryImport(Library, EntryPoint = "virConnectListAllDomains")]
    public static partial int ConnectListAllDomains(ConnectionHandle connection, nint** domains, uint flags);

    [LibraryImport(Library, EntryPoint = "virDomainLookupByUUIDString", StringMarshalling = StringMarshalling.Utf8)]
    public static partial DomainHandle DomainLookup(ConnectionHandle connection, string uuid);

    [LibraryImport(Library, EntryPoint = "virDomainDefineXMLFlags", StringMarshalling = StringMarshalling.Utf8)]
    public static partial DomainHandle DomainDefine(ConnectionHandle connection, string xml, uint flags);

    [LibraryImport(Library, EntryPoint = "virDomainFree")]
    public static partial int DomainFree(nint domain);

    [LibraryImport(Library, EntryPoint = "virDomainGetName")]
    public static partial nint DomainGetName(nint domain);

    [LibraryImport(Library, EntryPoint = "virDomainGetUUIDString")]
    public static partial int DomainGetUuid(nint domain, byte* buffer);

    [LibraryImport(Library, EntryPoint = "virDomainGetMetadata", StringMarshalling = StringMarshalling.Utf8)]
    public static partial void* DomainGetMetadata(DomainHandle domain, int type, string uri, uint flags);

    [LibraryImport(Library, EntryPoint = "virDomainGetState")]
    public static partial int DomainGetState(DomainHandle domain, int* state, int* reason, uint flags);

    [LibraryImport(Library, EntryPoint = "virDomainCreateWithFlags")]
    public static partial int DomainCreate(DomainHandle domain, uint flags);

    [LibraryImport(Library, EntryPoint = "virDomainShutdownFlags")]
    public static partial int DomainShutdown(DomainHandle domain, uint flags);

    [LibraryImport(Library, EntryPoint = "virDomainDestroyFlags")]
    public static partial int DomainDestroy(DomainHandle domain, uint flags);

    [LibraryImport(Library, EntryPoint = "virDomainSuspend")]
    public static partial int DomainSuspend(DomainHandle domain);

    [LibraryImport(Library, EntryPoint = "virDomainResume")]
    public static partial int DomainResume(DomainHandle domain);

    [LibraryImport(Library, EntryPoint = "virDomainAgentSetResponseTimeout")]
    public static partial int DomainSetAgentTimeout(DomainHandle domain, int seconds, uint flags);

    [LibraryImport(Library, EntryPoint = "virDomainFSFreeze")]
    public static partial int DomainFreeze(DomainHandle domain, nint mountPoints, uint count, uint flags);

    [LibraryImport(Library, EntryPoint = "virDomainFSThaw")]
    public static partial int DomainThaw(DomainHandle domain, nint mountPoints, uint count, uint flags);

    [LibraryImport(Library, EntryPoint = "virDomainSnapshotCreateXML", StringMarshalling = StringMarshalling.Utf8)]
    public static partial nint DomainSnapshot(DomainHandle domain, string xml, uint flags);

    [LibraryImport(Library, EntryPoint = "virDomainSnapshotFree")]
    public static partial int DomainSnapshotFree(nint snapshot);

    [LibraryImport(Library, EntryPoint = "virDomainRestoreFlags", StringMarshalling = StringMarshalling.Utf8)]
    public static partial int DomainRestore(ConnectionHandle connection, string from, string? xml, uint flags);

    [LibraryImport(Library, EntryPoint = "virDomainUndefineFlags")]
    public static partial int DomainUndefine(DomainHandle domain, uint flags);

    [LibraryImport(Library, EntryPoint = "virDomainListGetStats")]
    public static partial int DomainListGetStats(nint* domains, uint groups, StatsRecord*** records, uint flags);

    [LibraryImport(Library, EntryPoint = "virDomainStatsRecordListFree")]
    public static partial void StatsRecordListFree(StatsRecord** records);

    [LibraryImport("libc", EntryPoint = "free")]
    public static partial void Free(void* memory);
}

/// <summary>virDomainStatsRecord.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct StatsRecord
{
    public nint Domain;
    public TypedParameter* Parameters;
    public int Count;
}

/// <summary>virTypedParameter; the union is read as what <see cref="Type"/> says.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct TypedParameter
{
    private const int LongInteger = 3;
    private const int UnsignedLongInteger = 4;
    private const int NameLength = 80;

    public fixed byte Name[NameLength];
    public int Type;
    public long Value;

    /// <summary>Null for one that is no number of 64 bits.</summary>
    public readonly long? Number => Type is LongInteger or UnsignedLongInteger ? Value : null;

    public readonly string Text()
    {
        fixed (byte* name = Name)
        {
            var text = new ReadOnlySpan<byte>(name, NameLength);
            return System.Text.Encoding.ASCII.GetString(text[..text.IndexOf((byte)0)]);
        }
    }
}
