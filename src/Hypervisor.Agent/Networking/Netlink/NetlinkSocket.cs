using System.Buffers;
using System.Runtime.InteropServices;
using Hypervisor.Agent.Networking.Interop;
using Microsoft.Win32.SafeHandles;

namespace Hypervisor.Agent.Networking.Netlink;

/// <summary>
/// A conversation with rtnetlink in the network namespace of the thread that opened it. One request at a time; not for
/// several threads at once.
/// </summary>
internal sealed unsafe class NetlinkSocket : IDisposable
{
    private readonly SafeFileHandle _socket;
    private readonly byte[] _buffer = ArrayPool<byte>.Shared.Rent(NetworkLimits.NetlinkBufferBytes);
    private bool _disposed;
    private uint _sequence;

    private NetlinkSocket(SafeFileHandle socket) => _socket = socket;

    /// <summary>For poll(2).</summary>
    public int Descriptor => (int)_socket.DangerousGetHandle();

    /// <summary>Opens a socket in the calling thread's namespace.</summary>
    /// <param name="groups">Bits of <see cref="MulticastGroup"/> to hear from; 0 for requests.</param>
    public static NetlinkSocket Open(uint groups = 0)
    {
        var socket = Errno.Handle(Libc.Socket(Libc.AfNetlink, Libc.SockRaw | Libc.SockCloexec, Libc.NetlinkRoute), "cannot open a netlink socket");
        var address = stackalloc uint[3];
        address[0] = Libc.AfNetlink;
        address[1] = 0;
        address[2] = groups;
        Errno.Check(Libc.Bind(socket, address, 12), "cannot bind a netlink socket");

        var timeout = stackalloc long[2];
        timeout[0] = (long)NetworkLimits.NetlinkDeadline.TotalSeconds;
        timeout[1] = 0;
        Errno.Check(Libc.SetSocketOption(socket, Libc.SolSocket, Libc.SoReceiveTimeout, timeout, 16), "cannot set a netlink socket's deadline");

        // Both only improve messages; kernels before 4.12 do without.
        var on = 1;
        Libc.SetSocketOption(socket, Libc.SolNetlink, Libc.NetlinkCapAck, &on, sizeof(int));
        Libc.SetSocketOption(socket, Libc.SolNetlink, Libc.NetlinkExtAck, &on, sizeof(int));
        return new(socket);
    }

    /// <summary>Sends a request and waits for its acknowledgement.</summary>
    /// <param name="what">What is attempted, as the beginning of an error message.</param>
    /// <returns>What the kernel answered besides.</returns>
    /// <exception cref="SystemCallException">The kernel refused, or did not answer in time.</exception>
    public IReadOnlyList<NetlinkReply> Execute(NetlinkRequest request, string what)
    {
        Send(request, what);
        var answers = new List<NetlinkReply>();
        while (true)
        {
            foreach (var reply in NetlinkReply.Split(Receive(what)))
            {
                // An answer to an earlier request that had reached its deadline.
                if (reply.Sequence != _sequence)
                {
                    continue;
                }

                switch (reply.Type)
                {
                    case MessageType.Error:
                        ThrowOnError(reply, what);
                        return answers;
                    case MessageType.Done:
                        return answers;
                    default:
                        answers.Add(reply);
                        break;
                }
            }
        }
    }

    /// <summary>A dump that is consistent: one that the kernel reports as interrupted by a change is taken again.</summary>
    public IReadOnlyList<NetlinkReply> Dump(Func<NetlinkRequest> request, string what)
    {
        for (var attempt = 1; ; attempt++)
        {
            var replies = Execute(request(), what);
            if (attempt == NetworkLimits.DumpAttempts || !replies.Any(reply => (reply.Flags & MessageFlag.DumpInterrupted) != 0))
            {
                return replies;
            }
        }
    }

    /// <summary>The next notification, or null when some were lost because this reader was slow.</summary>
    public IReadOnlyList<NetlinkReply>? ReceiveNotifications()
    {
        try
        {
            return NetlinkReply.Split(Receive("cannot read notifications"));
        }
        catch (SystemCallException overflow) when (overflow.Code == Errno.NoBufferSpace)
        {
            return null;
        }
    }

    public void Dispose()
    {
        if (!_disposed)
        {
            _disposed = true;
            _socket.Dispose();
            ArrayPool<byte>.Shared.Return(_buffer);
        }
    }

    private static void ThrowOnError(NetlinkReply reply, string what)
    {
        var code = -MemoryMarshal.Read<int>(reply.Payload.Span);
        if (code == 0)
        {
            return;
        }

        // The request's header follows the code; then, when the flag says so, the kernel's explanation (attribute 1).
        if ((reply.Flags & MessageFlag.AcknowledgeAttributes) != 0)
        {
            var attributes = reply.Attributes(4 + NetlinkRequest.HeaderLength);
            while (attributes.MoveNext())
            {
                if (attributes.Type == 1)
                {
                    what += $" ({attributes.Text})";
                }
            }
        }

        throw new SystemCallException(code, what);
    }

    private void Send(NetlinkRequest request, string what)
    {
        var message = request.Seal(++_sequence);
        var kernel = stackalloc uint[3];
        kernel[0] = Libc.AfNetlink;
        kernel[1] = 0;
        kernel[2] = 0;
        fixed (byte* start = message)
        {
            if (Libc.SendTo(_socket, start, (nuint)message.Length, 0, kernel, 12) != message.Length)
            {
                throw Errno.Last(what);
            }
        }
    }

    private ReadOnlyMemory<byte> Receive(string what)
    {
        fixed (byte* start = _buffer)
        {
            while (true)
            {
                var length = Libc.Receive(_socket, start, (nuint)_buffer.Length, 0);
                if (length >= 0)
                {
                    return _buffer.AsSpan(0, (int)length).ToArray();
                }

                var code = Marshal.GetLastPInvokeError();
                if (code != Errno.Interrupted)
                {
                    throw new SystemCallException(code, code == Errno.TryAgain ? $"{what}: the kernel did not answer within {NetworkLimits.NetlinkDeadline.TotalSeconds:0} s" : what);
                }
            }
        }
    }
}
