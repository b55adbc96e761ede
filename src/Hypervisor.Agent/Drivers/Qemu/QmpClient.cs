using System.Buffers;
using System.Net.Sockets;
using System.Text.Json;
using Hypervisor.Agent.Guests;
using Microsoft.Win32.SafeHandles;

namespace Hypervisor.Agent.Drivers.Qemu;

/// <summary>One connection to QEMU's monitor (QMP): a JSON object per line, one command at a time. QEMU serves one client at a time.</summary>
internal sealed class QmpClient : IDisposable
{
    private readonly Socket _socket;
    private readonly TimeProvider _time;
    private byte[] _buffer = new byte[4096];
    private int _start;
    private int _end;
    private bool _broken;

    private QmpClient(Socket socket, TimeProvider time) => (_socket, _time) = (socket, time);

    /// <summary>Connects and leaves the phase of negotiation.</summary>
    /// <exception cref="SocketException">Nobody listens there.</exception>
    /// <exception cref="DriverException">RuntimeUnavailable: no answer within its time, or none of QEMU.</exception>
    public static async Task<QmpClient> ConnectAsync(string path, TimeProvider time, CancellationToken cancellationToken)
    {
        var client = new QmpClient(new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified), time);
        try
        {
            await client.BoundedAsync("greeting", async bound =>
            {
                await client._socket.ConnectAsync(new UnixDomainSocketEndPoint(path), bound);
                using var greeting = await client.ReadAsync(bound);
                return greeting.RootElement.TryGetProperty("QMP", out _) ? true : throw Unavailable("what listens at its monitor is no QEMU");
            }, cancellationToken);
            (await client.CallAsync("qmp_capabilities", null, cancellationToken)).Dispose();
            return client;
        }
        catch
        {
            client.Dispose();
            throw;
        }
    }

    /// <param name="arguments">Writes the members of the command's arguments; null for none.</param>
    /// <param name="descriptor">Goes with the command, for "getfd".</param>
    /// <returns>The whole answer; what the command returns is its member "return".</returns>
    /// <exception cref="DriverException">VmmFailed: refused. RuntimeUnavailable: no answer; the connection is of no more use.</exception>
    public Task<JsonDocument> CallAsync(
        string command, Action<Utf8JsonWriter>? arguments, CancellationToken cancellationToken, SafeFileHandle? descriptor = null) =>
        BoundedAsync(command, async bound =>
        {
            await SendAsync(Render(command, arguments), descriptor, bound);
            for (var count = 0; count < QemuLimits.MessagesBeforeAnswer; count++)
            {
                var message = await ReadAsync(bound);
                if (message.RootElement.TryGetProperty("return", out _))
                {
                    return message;
                }

                using (message)
                {
                    if (message.RootElement.TryGetProperty("error", out var error))
                    {
                        var words = error.TryGetProperty("desc", out var text) ? text.GetString() : null;
                        throw new DriverException(GuestLimits.VmmFailed, $"QEMU refuses {command}: {words ?? "no reason given"}", permanent: false);
                    }
                }
            }

            throw Unavailable($"its monitor tells of events and does not answer {command}");
        }, cancellationToken);

    public void Dispose() => _socket.Dispose();

    private static byte[] Render(string command, Action<Utf8JsonWriter>? arguments)
    {
        var buffer = new ArrayBufferWriter<byte>();
        using (var json = new Utf8JsonWriter(buffer))
        {
            json.WriteStartObject();
            json.WriteString("execute", command);
            if (arguments is not null)
            {
                json.WriteStartObject("arguments");
                arguments(json);
                json.WriteEndObject();
            }

            json.WriteEndObject();
        }

        buffer.Write("\n"u8);
        return buffer.WrittenSpan.ToArray();
    }

    private static DriverException Unavailable(string why, Exception? inner = null) => new(GuestLimits.Unavailable, $"QEMU: {why}", permanent: false, inner);

    private async Task SendAsync(byte[] message, SafeFileHandle? descriptor, CancellationToken cancellationToken)
    {
        var sent = descriptor is null ? 0 : DescriptorPassing.Send(_socket, message, descriptor);
        while (sent < message.Length)
        {
            sent += await _socket.SendAsync(message.AsMemory(sent), cancellationToken);
        }
    }

    private async Task<JsonDocument> ReadAsync(CancellationToken cancellationToken)
    {
        while (true)
        {
            if (_buffer.AsSpan(_start, _end - _start).IndexOf((byte)'\n') is >= 0 and var length)
            {
                var line = _buffer.AsMemory(_start, length).ToArray();
                _start += length + 1;
                return JsonDocument.Parse(line);
            }

            if (_end == _buffer.Length)
            {
                MakeRoom();
            }

            var read = await _socket.ReceiveAsync(_buffer.AsMemory(_end), cancellationToken);
            _end += read > 0 ? read : throw Unavailable("its monitor closed the connection");
        }
    }

    private void MakeRoom()
    {
        var waiting = _end - _start;
        if (_start == 0)
        {
            if (_buffer.Length >= QemuLimits.MessageBytes)
            {
                throw Unavailable($"its monitor sends a message of more than {QemuLimits.MessageBytes} bytes");
            }

            Array.Resize(ref _buffer, _buffer.Length * 2);
            return;
        }

        _buffer.AsSpan(_start, waiting).CopyTo(_buffer);
        (_start, _end) = (0, waiting);
    }

    /// <summary>After a failure in the middle nobody knows whose answer would come next.</summary>
    private async Task<T> BoundedAsync<T>(string what, Func<CancellationToken, Task<T>> work, CancellationToken cancellationToken)
    {
        if (_broken)
        {
            throw Unavailable("an earlier command to its monitor was not answered");
        }

        using var deadline = new CancellationTokenSource(QemuLimits.Command, _time);
        using var linked = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, deadline.Token);
        try
        {
            return await work(linked.Token);
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            _broken = true;
            throw Unavailable($"its monitor did not answer ({what}) within {QemuLimits.Command.TotalSeconds:0} s");
        }
        catch (Exception error) when (error is JsonException || (error is IOException or SocketException && what != "greeting"))
        {
            _broken = true;
            throw Unavailable($"its monitor cannot be understood or is gone ({what}): {error.Message}", error);
        }
        catch (OperationCanceledException)
        {
            _broken = true;
            throw;
        }
    }
}
