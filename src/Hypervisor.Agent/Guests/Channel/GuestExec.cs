using System.Buffers.Binary;
using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Streams;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Guests.Channel;

/// <summary>One additional process in a guest. It ends, at the latest, when this is disposed of or the connection breaks.</summary>
internal sealed class GuestExec : IInstanceProcess, IChannelStream
{
    private const int SignalKill = 9;

    private readonly GuestChannel _channel;
    private readonly TimeProvider _time;
    private readonly bool _stdin;
    private readonly uint _number;
    private readonly TaskCompletionSource _started = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly TaskCompletionSource<ExitStatus> _exit = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly OutputQueue[] _outputs = [new(), new()];
    private readonly InputCredit _input = new(ChannelLimits.CreditBytes);
    private bool _inputClosed;

    private GuestExec(GuestChannel channel, TimeProvider time, bool terminal, bool stdin)
    {
        (_channel, _time, _stdin) = (channel, time, stdin);
        if (terminal)
        {
            _outputs[1].End();
        }

        _number = channel.Register(this);
    }

    /// <exception cref="DriverException">CommandNotFound, CommandNotExecutable, UserNotFound, WorkingDirectoryInvalid, StartFailed, GuestNotReachable.</exception>
    public static async Task<GuestExec> StartAsync(
        GuestChannel channel, Records request, bool terminal, bool stdin, TimeProvider time, CancellationToken cancellationToken)
    {
        var exec = new GuestExec(channel, time, terminal, stdin);
        using var deadline = new CancellationTokenSource(ChannelLimits.Start, time);
        using var linked = CancellationTokenSource.CreateLinkedTokenSource(deadline.Token, cancellationToken);
        try
        {
            await channel.SendAsync(FrameType.Exec, exec._number, request, linked.Token);
            await exec._started.Task.WaitAsync(linked.Token);
            return exec;
        }
        catch (Exception failure)
        {
            await exec.DisposeAsync();
            if (failure is OperationCanceledException && !cancellationToken.IsCancellationRequested)
            {
                throw GuestChannel.NotReachable($"the process did not start within {ChannelLimits.Start.TotalSeconds} s", failure);
            }

            throw;
        }
    }

    public async ValueTask<int> ReadAsync(LogStream stream, Memory<byte> buffer, CancellationToken cancellationToken)
    {
        var index = stream == LogStream.Stderr ? 1 : 0;
        var read = await _outputs[index].ReadAsync(buffer, cancellationToken);
        if (read > 0 && !_channel.IsLost)
        {
            var credit = new byte[5];
            credit[0] = (byte)(index + 1);
            BinaryPrimitives.WriteInt32LittleEndian(credit.AsSpan(1), read);
            await IfThereAsync(_channel.SendAsync(FrameType.Credit, _number, credit, cancellationToken));
        }

        return read;
    }

    public async ValueTask WriteAsync(ReadOnlyMemory<byte> data, CancellationToken cancellationToken)
    {
        // What comes after the end of the input, or was never wanted, has no reader.
        while (_stdin && !_inputClosed && !data.IsEmpty && !_exit.Task.IsCompleted)
        {
            var part = await _input.TakeAsync(data.Length, cancellationToken);
            await _channel.SendAsync(FrameType.Input, _number, data[..part], cancellationToken);
            data = data[part..];
        }
    }

    public async Task CloseInputAsync(CancellationToken cancellationToken)
    {
        if (_stdin && !_inputClosed)
        {
            _inputClosed = true;
            await IfThereAsync(_channel.SendAsync(FrameType.Input, _number, ReadOnlyMemory<byte>.Empty, cancellationToken));
        }
    }

    public Task ResizeAsync(TerminalSize size, CancellationToken cancellationToken) =>
        IfThereAsync(_channel.SendAsync(FrameType.Resize, _number, Records.Pack(size), cancellationToken));

    public Task SignalAsync(int signal, CancellationToken cancellationToken) =>
        IfThereAsync(_channel.SendAsync(FrameType.Signal, _number, new[] { (byte)signal }, cancellationToken));

    public Task<ExitStatus> ExitAsync(CancellationToken cancellationToken) => _exit.Task.WaitAsync(cancellationToken);

    public bool Take(Frame frame)
    {
        var payload = frame.Payload.Span;
        switch (frame.Type)
        {
            case FrameType.Answer when payload.Length >= 5:
                if (GuestAnswer.FailureOf(payload) is { } failure)
                {
                    _started.TrySetException(failure);
                }

                _started.TrySetResult();
                return true;
            case FrameType.Output:
                return _outputs[0].Add(frame.Payload);
            case FrameType.Error:
                return _outputs[1].Add(frame.Payload);
            case FrameType.CreditBack when payload.Length == 4:
                return _input.Return(BinaryPrimitives.ReadInt32LittleEndian(payload));
            case FrameType.Exit when payload.Length == 9:
                _exit.TrySetResult(new ExitStatus
                {
                    Code = BinaryPrimitives.ReadInt32LittleEndian(payload) & 0xFF,
                    Signal = Math.Clamp(BinaryPrimitives.ReadInt32LittleEndian(payload[4..]), 0, 64),
                    OutOfMemory = payload[8] == 1,
                });
                // A writer that waits for room waits for nobody.
                _input.Return(0);
                return true;
            default:
                return false;
        }
    }

    /// <summary>The guest ended, and took it with it; or the connection broke, and the guest kills it.</summary>
    public void Lost()
    {
        _started.TrySetException(GuestChannel.NotReachable("the connection was closed"));
        _exit.TrySetResult(new ExitStatus { Code = 128 + SignalKill, Signal = SignalKill });
        _input.Lost();
        _outputs[0].End();
        _outputs[1].End();
    }

    public async ValueTask DisposeAsync()
    {
        // Not cancelled with the client: its going away is why this is called.
        using var deadline = new CancellationTokenSource(StreamLimits.CleanUp, _time);
        try
        {
            if (!_channel.IsLost)
            {
                await IfThereAsync(_channel.SendAsync(FrameType.Release, _number, ReadOnlyMemory<byte>.Empty, deadline.Token));
            }
        }
        catch (OperationCanceledException)
        {
            // A guest that takes nothing: it kills it when the connection, which is cut now, is gone.
        }
        finally
        {
            _channel.Unregister(_number);
            Lost();
        }
    }

    private static async Task IfThereAsync(Task sending)
    {
        try
        {
            await sending;
        }
        catch (DriverException)
        {
            // The guest is gone, and the process with it; its exit says what there is to say.
        }
    }
}
