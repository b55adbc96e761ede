using System.Diagnostics;
using System.Net.NetworkInformation;
using Hypervisor.Agent.Networking;
using Hypervisor.Agent.Networking.Interop;
using Hypervisor.Agent.Networking.Netlink;
using Microsoft.Win32.SafeHandles;
using Xunit;

namespace Hypervisor.ClusterTests.Networking;

/// <summary>
/// A machine without a machine: opens its tap as a VMM does and carries every frame to and from an interface in a namespace of its
/// own, where a real kernel and real programs are the guest.
/// </summary>
internal sealed class TapGuest : IDisposable
{
    private const int LongestFrame = 65536;

    private readonly SafeFileHandle _tap;
    private readonly SafeFileHandle _card;
    private readonly SafeFileHandle _off = Errno.Handle(Libc.EventFd(0, Libc.EventCloexecNonblock), "eventfd");
    private readonly Thread _carrier;

    public TapGuest(SafeFileHandle host, NetworkAttachment attachment)
    {
        Inside = NetworkLab.NewNamespace();
        _tap = NetworkLab.InNamespace(host, () => Taps.Open(attachment.Tap));
        _card = NetworkLab.InNamespace(Inside, () =>
        {
            var card = Taps.Open("eth0");
            using var route = NetlinkSocket.Open();
            var index = route.FindLink("eth0")!.Index;
            route.Execute(Readdress(index, PhysicalAddress.Parse(attachment.HardwareAddress)), "cannot set a hardware address");
            route.DisableIpv6Addresses(index);
            route.SetUp(1);
            route.SetUp(index);
            return card;
        });
        _carrier = new Thread(Carry) { IsBackground = true, Name = "guest " + attachment.Tap };
        _carrier.Start();
    }

    public SafeFileHandle Inside { get; }

    /// <summary>Runs a real DHCP client (busybox), which configures the interface as it is told.</summary>
    /// <param name="arguments">Besides those that make it ask once.</param>
    /// <returns>What it was told, by the client's own names; null when nobody answered.</returns>
    public async Task<IReadOnlyDictionary<string, string>?> AskAsync(params string[] arguments)
    {
        var folder = Directory.CreateTempSubdirectory("hv-guest-").FullName;
        try
        {
            var script = Path.Combine(folder, "script");
            File.WriteAllText(
                script,
                $$"""
                #!/bin/sh
                [ "$1" = bound ] || exit 0
                env > {{folder}}/answer
                busybox ip address flush dev "$interface"
                busybox ip address add "$ip/$mask" dev "$interface"
                busybox ip link set mtu "$mtu" dev "$interface"
                busybox ip route add default via "$router" dev "$interface"
                """);
            File.SetUnixFileMode(script, UnixFileMode.UserRead | UnixFileMode.UserExecute);
            string[] once = ["udhcpc", "-i", "eth0", "-f", "-n", "-q", "-t", "5", "-T", "1", "-O", "mtu", "-O", "search", "-s", script];
            using var client = NetworkLab.InNamespace(
                Inside,
                () => Process.Start(new ProcessStartInfo("busybox", [.. once, .. arguments]) { RedirectStandardOutput = true, RedirectStandardError = true })!);
            try
            {
                var output = client.StandardOutput.ReadToEndAsync(NetworkLab.Deadline);
                TestContext.Current.TestOutputHelper?.WriteLine(await client.StandardError.ReadToEndAsync(NetworkLab.Deadline) + await output);
                await client.WaitForExitAsync(NetworkLab.Deadline);
            }
            finally
            {
                client.Kill();
            }

            var answer = Path.Combine(folder, "answer");
            return File.Exists(answer)
                ? File.ReadAllLines(answer).Select(line => line.Split('=', 2)).Where(pair => pair.Length == 2).ToDictionary(pair => pair[0], pair => pair[1])
                : null;
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    public unsafe void Dispose()
    {
        var one = 1UL;
        Libc.Write(_off, &one, sizeof(ulong));
        _carrier.Join();
        _tap.Dispose();
        _card.Dispose();
        _off.Dispose();
        Inside.Dispose();
    }

    private unsafe void Carry()
    {
        var frame = stackalloc byte[LongestFrame];
        var entries = stackalloc PollEntry[3];
        SafeFileHandle[] ends = [_tap, _card, _off];
        while (true)
        {
            for (var end = 0; end < ends.Length; end++)
            {
                entries[end] = new() { Descriptor = (int)ends[end].DangerousGetHandle(), Events = Libc.PollIn };
            }

            // An error on an end is the end: somebody deleted the tap.
            if (Libc.Poll(entries, 3, -1) < 0 || entries[2].Returned != 0)
            {
                return;
            }

            for (var end = 0; end < 2; end++)
            {
                if (entries[end].Returned == 0)
                {
                    continue;
                }

                var length = Libc.Read(ends[end], frame, LongestFrame);
                if (length < 0)
                {
                    return;
                }

                Libc.Write(ends[1 - end], frame, (nuint)length);
            }
        }
    }

    /// <summary>As `ip link set … address …`: struct ifinfomsg, then the attribute.</summary>
    private static NetlinkRequest Readdress(int index, PhysicalAddress address) =>
        new NetlinkRequest(MessageType.NewLink, MessageFlag.Request | MessageFlag.Acknowledge)
            .Append(0u).Append(index).Append(0u).Append(0u)
            .Attribute(LinkAttribute.Address, address.GetAddressBytes());
}
