using System.Globalization;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using Hypervisor.Agent.Guests;

namespace Hypervisor.Agent.Drivers.Libvirt;

/// <summary>libvirtd keeps a log of each domain, and keeps it when the domain is gone.</summary>
internal static class LibvirtLogs
{
    private const string Folder = "var/log/libvirt/qemu";

    // socket(7): SO_PEERCRED gives struct ucred, whose first field is the process that listens.
    private const int SolSocket = 1;
    private const int PeerCredentials = 17;

    /// <summary>Removes that of one guest, in the folder as the libvirtd behind this socket sees it.</summary>
    /// <exception cref="DriverException">VmmFailed.</exception>
    public static void Remove(string socket, string uid)
    {
        try
        {
            var folder = string.Create(CultureInfo.InvariantCulture, $"/proc/{Listener(socket)}/root/{Folder}");
            if (Directory.Exists(folder))
            {
                // virtlogd numbers the older ones.
                foreach (var path in Directory.EnumerateFiles(folder, $"{DomainXml.NameOf(uid)}.log*"))
                {
                    File.Delete(path);
                }
            }
        }
        catch (Exception failure) when (failure is IOException or UnauthorizedAccessException or SocketException)
        {
            throw new DriverException(GuestLimits.VmmFailed, $"libvirtd's log of the guest cannot be removed: {failure.Message}", permanent: false, failure);
        }
    }

    private static int Listener(string path)
    {
        using var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        socket.Connect(new UnixDomainSocketEndPoint(path));
        Span<int> credentials = stackalloc int[3];
        _ = socket.GetRawSocketOption(SolSocket, PeerCredentials, MemoryMarshal.AsBytes(credentials));
        return credentials[0];
    }
}
