using System.Text;
using Hypervisor.Agent.Networking.Interop;
using Microsoft.Win32.SafeHandles;

namespace Hypervisor.Agent.Networking;

/// <summary>Makes taps; see Documentation/networking/tuntap.rst of the kernel. Everything else about them is rtnetlink's.</summary>
internal static class Taps
{
    /// <summary>As rtnetlink names both taps and tunnels.</summary>
    public const string Kind = "tun";

    private const string Device = "/dev/net/tun";
    private const int NameLength = 16;

    // include/uapi/linux/if_tun.h
    private const nuint SetInterface = 0x400454ca;
    private const nuint SetPersistent = 0x400454cb;
    private const nuint SetOwner = 0x400454cc;
    private const ushort Tap = 0x0002;
    private const ushort NoPacketInformation = 0x1000;
    private const ushort VnetHeader = 0x4000;
    private const ushort Exclusive = 0x8000;

    /// <summary>
    /// Makes a tap in the calling thread's network namespace that stays when nobody has it open: one queue, packets preceded by
    /// virtio's header. Root's own: without an owner anyone who may open /dev/net/tun could be the guest.
    /// </summary>
    public static unsafe void Create(string name)
    {
        using var tap = Open(name, VnetHeader | Exclusive);
        Errno.Check(Libc.Control(tap, SetOwner, null), $"cannot give tap {name} to root");
        Errno.Check(Libc.Control(tap, SetPersistent, (void*)1), $"cannot keep tap {name}");
    }

    /// <summary>The machine's end of a tap, as a VMM opens it; makes one that ends with the handle where there is none.</summary>
    /// <param name="flags">Besides those that make it a tap.</param>
    public static unsafe SafeFileHandle Open(string name, ushort flags = 0)
    {
        var tap = Errno.Handle(Libc.Open(Device, Libc.OpenReadWriteCloexec, 0), $"cannot open {Device}");
        try
        {
            // struct ifreq: the name, then a union of 24 bytes that begins with the flags.
            var request = stackalloc byte[NameLength + 24];
            new Span<byte>(request, NameLength + 24).Clear();
            Encoding.ASCII.GetBytes(name, new Span<byte>(request, NameLength - 1));
            *(ushort*)(request + NameLength) = (ushort)(Tap | NoPacketInformation | flags);
            Errno.Check(Libc.Control(tap, SetInterface, request), $"cannot open tap {name}");
            return tap;
        }
        catch (IOException)
        {
            tap.Dispose();
            throw;
        }
    }
}
