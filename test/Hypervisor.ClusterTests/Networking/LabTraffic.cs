using System.Net;
using System.Net.NetworkInformation;
using System.Net.Sockets;
using System.Text;
using Hypervisor.Agent.Networking.Addressing;
using Hypervisor.TestCluster;
using Microsoft.Win32.SafeHandles;

namespace Hypervisor.ClusterTests.Networking;

/// <summary>Small servers and clients inside namespaces. A socket belongs to the namespace of the thread that made it.</summary>
internal static class LabTraffic
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(3);

    public static PhysicalAddress ToHardwareAddressForTest(this IPAddress address) => address.ToHardwareAddress();

    /// <summary>A TCP server that tells each client its name and the address it sees the client under.</summary>
    public static IDisposable ServeTcp(SafeFileHandle inside, string name, int port, IPAddress? address = null)
    {
        var listener = NetworkLab.InNamespace(inside, () =>
        {
            var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
            socket.Bind(new IPEndPoint(address ?? IPAddress.Any, port));
            socket.Listen();
            return socket;
        });
        _ = AnswerAsync(listener, name);
        return listener;
    }

    /// <summary>A UDP server that answers like <see cref="ServeTcp"/>.</summary>
    public static IDisposable ServeUdp(SafeFileHandle inside, string name, int port)
    {
        var server = NetworkLab.InNamespace(inside, () =>
        {
            var socket = new Socket(AddressFamily.InterNetwork, SocketType.Dgram, ProtocolType.Udp);
            socket.Bind(new IPEndPoint(IPAddress.Any, port));
            return socket;
        });
        _ = EchoAsync(server, name);
        return server;
    }

    /// <summary>What a server says, "name client-address"; null when it cannot be reached.</summary>
    public static async Task<string?> AskTcpAsync(SafeFileHandle inside, IPAddress address, int port)
    {
        using var client = NetworkLab.InNamespace(inside, () => new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp));
        using var patience = CancellationTokenSource.CreateLinkedTokenSource(NetworkLab.Deadline);
        patience.CancelAfter(Patience);
        try
        {
            await client.ConnectAsync(new IPEndPoint(address, port), patience.Token);
            var buffer = new byte[256];
            var length = await client.ReceiveAsync(buffer, patience.Token);
            return Encoding.UTF8.GetString(buffer, 0, length);
        }
        catch (Exception refused) when (refused is SocketException or OperationCanceledException)
        {
            return null;
        }
    }

    public static async Task<string?> AskUdpAsync(SafeFileHandle inside, IPAddress address, int port)
    {
        using var client = NetworkLab.InNamespace(inside, () => new Socket(AddressFamily.InterNetwork, SocketType.Dgram, ProtocolType.Udp));
        using var patience = CancellationTokenSource.CreateLinkedTokenSource(NetworkLab.Deadline);
        patience.CancelAfter(Patience);
        try
        {
            await client.ConnectAsync(new IPEndPoint(address, port), patience.Token);
            await client.SendAsync(new byte[] { 1 }, patience.Token);
            var buffer = new byte[256];
            var length = await client.ReceiveAsync(buffer, patience.Token);
            return Encoding.UTF8.GetString(buffer, 0, length);
        }
        catch (Exception refused) when (refused is SocketException or OperationCanceledException)
        {
            return null;
        }
    }

    /// <summary>How long it takes until so many bytes are there, over TCP.</summary>
    public static async Task<TimeSpan> SendAsync(SafeFileHandle from, SafeFileHandle to, IPAddress address, int bytes)
    {
        const int port = 9000;
        using var listener = NetworkLab.InNamespace(to, () =>
        {
            var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
            socket.Bind(new IPEndPoint(IPAddress.Any, port));
            socket.Listen();
            return socket;
        });
        using var client = NetworkLab.InNamespace(from, () => new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp));
        await client.ConnectAsync(new IPEndPoint(address, port), NetworkLab.Deadline);
        using var server = await listener.AcceptAsync(NetworkLab.Deadline);
        var begun = RealTime.Clock.GetTimestamp();
        var sending = client.SendAsync(new byte[bytes], NetworkLab.Deadline);
        var buffer = new byte[1 << 16];
        for (var received = 0; received < bytes;)
        {
            received += await server.ReceiveAsync(buffer, NetworkLab.Deadline);
        }

        await sending;
        return RealTime.Clock.GetElapsedTime(begun);
    }

    private static async Task AnswerAsync(Socket listener, string name)
    {
        try
        {
            while (true)
            {
                using var client = await listener.AcceptAsync();
                await client.SendAsync(Encoding.UTF8.GetBytes($"{name} {((IPEndPoint)client.RemoteEndPoint!).Address}"));
            }
        }
        catch (Exception closed) when (closed is SocketException or ObjectDisposedException)
        {
        }
    }

    private static async Task EchoAsync(Socket server, string name)
    {
        try
        {
            var buffer = new byte[256];
            while (true)
            {
                var received = await server.ReceiveFromAsync(buffer, new IPEndPoint(IPAddress.Any, 0));
                var answer = Encoding.UTF8.GetBytes($"{name} {((IPEndPoint)received.RemoteEndPoint).Address}");
                try
                {
                    await server.SendToAsync(answer, received.RemoteEndPoint);
                }
                catch (SocketException unreachable) when (unreachable.SocketErrorCode == SocketError.NetworkUnreachable)
                {
                    // A forged sender; the next may be honest.
                }
            }
        }
        catch (Exception closed) when (closed is SocketException or ObjectDisposedException)
        {
        }
    }
}
