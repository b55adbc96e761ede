using System.Globalization;
using System.Text;
using Hypervisor.Agent.Drivers;

namespace Hypervisor.Agent.Guests;

/// <summary>
/// What a stream socket in front of a guest's vsock asks for before it is a stream to the guest (Firecracker, "vsock.md": "CONNECT
/// port\n", answered by "OK host-port\n").
/// </summary>
internal static class VsockHandshake
{
    /// <exception cref="DriverException">ChannelRefused: nothing in the guest listens there (yet).</exception>
    /// <exception cref="IOException">The stream broke.</exception>
    public static async Task PerformAsync(Stream stream, int port, CancellationToken cancellationToken)
    {
        await stream.WriteAsync(Encoding.ASCII.GetBytes(string.Create(CultureInfo.InvariantCulture, $"CONNECT {port}\n")), cancellationToken);

        // Byte by byte: what follows the line is the guest's.
        var answer = new byte[GuestLimits.HandshakeBytes];
        var length = 0;
        do
        {
            if (length == answer.Length || await stream.ReadAsync(answer.AsMemory(length, 1), cancellationToken) == 0)
            {
                throw Refused(port);
            }
        }
        while (answer[length++] != '\n');

        if (!answer.AsSpan(0, length).StartsWith("OK "u8))
        {
            throw Refused(port);
        }
    }

    private static DriverException Refused(int port) => new(
        "ChannelRefused", $"nothing in the guest answers on vsock port {port}; its init may not have got so far", permanent: false);
}
