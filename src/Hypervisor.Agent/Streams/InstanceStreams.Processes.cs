using Google.Protobuf;
using Grpc.Core;
using Hypervisor.Agent.Drivers;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Streams;

internal sealed partial class InstanceStreams
{
    // As shells have it.
    private const int NotFound = 127;
    private const int NotExecutable = 126;
    private const int LastSignal = 64;

    public async Task ExecAsync(
        IAsyncStreamReader<ExecInput> requests, IServerStreamWriter<ExecOutput> answers, ServerCallContext context)
    {
        var cancellationToken = context.CancellationToken;
        var (id, epoch, access, place) = Redeem(context, StreamKind.Exec);
        using var leave = place;
        using var outlet = new Outlet<ExecOutput>(answers, time);
        var first = await FirstAsync(requests, cancellationToken);
        IInstanceProcess process;
        try
        {
            process = await access.ExecAsync(id, epoch, first, cancellationToken);
        }
        catch (DriverException failure) when (failure.Reason is "CommandNotFound" or "CommandNotExecutable")
        {
            await outlet.WriteAsync(new ExecOutput { Stderr = ByteString.CopyFromUtf8(failure.Message + "\n") }, cancellationToken);
            var code = failure.Reason == "CommandNotFound" ? NotFound : NotExecutable;
            await outlet.WriteAsync(new ExecOutput { Exit = new ExitStatus { Code = code } }, cancellationToken);
            return;
        }

        // Whatever ends the stream ends the process.
        await using var ended = process;
        var pump = new ProcessPump(process, time, (stream, data, token) => outlet.WriteAsync(
            stream == LogStream.Stderr ? new ExecOutput { Stderr = data } : new ExecOutput { Stdout = data }, token));
        var exit = await pump.RunAsync(token => TakeAsync(process, first, requests, token), cancellationToken);
        await outlet.WriteAsync(new ExecOutput { Exit = exit }, cancellationToken);
    }

    public async Task AttachAsync(
        IAsyncStreamReader<ConsoleInput> requests, IServerStreamWriter<ConsoleOutput> answers, ServerCallContext context)
    {
        var cancellationToken = context.CancellationToken;
        var (id, epoch, access, place) = Redeem(context, StreamKind.Console);
        using var leave = place;
        using var outlet = new Outlet<ConsoleOutput>(answers, time);
        var first = await FirstAsync(requests, cancellationToken);
        await using var process = await access.AttachAsync(id, epoch, cancellationToken);
        using var seat = _writers.Enter(id);
        await outlet.WriteAsync(
            new ConsoleOutput { About = new ConsoleAbout { Input = process.TakesInput, Terminal = process.IsTerminal } }, cancellationToken);
        var pump = new ProcessPump(process, time, (stream, data, token) =>
        {
            var answer = stream == LogStream.Stderr ? new ConsoleOutput { ErrorData = data } : new ConsoleOutput { Data = data };
            answer.LostBytes = process.TakeLost();
            return outlet.WriteAsync(answer, token);
        });
        await pump.RunAsync(token => TakeAsync(process, seat, first, requests, token), cancellationToken);
    }

    public async Task AttachVncAsync(IAsyncStreamReader<VncInput> requests, IServerStreamWriter<VncOutput> answers, ServerCallContext context)
    {
        var cancellationToken = context.CancellationToken;
        var (id, epoch, access, place) = Redeem(context, StreamKind.Vnc);
        using var leave = place;
        using var outlet = new Outlet<VncOutput>(answers, time);
        var first = await FirstAsync(requests, cancellationToken);
        await using var display = await access.OpenDisplayAsync(id, epoch, cancellationToken);
        var pump = new ProcessPump(display, time, (_, data, token) => outlet.WriteAsync(new VncOutput { Data = data }, token));
        await pump.RunAsync(token => TakeAsync(display, first, requests, token), cancellationToken);
    }

    private static async Task TakeAsync(IInstanceProcess display, VncInput first, IAsyncStreamReader<VncInput> requests, CancellationToken cancellationToken)
    {
        var request = first;
        do
        {
            CheckLength(request.Data, "data");
            if (!request.Data.IsEmpty)
            {
                await display.WriteAsync(request.Data.Memory, cancellationToken);
            }
        }
        while (await requests.MoveNext(cancellationToken) && (request = requests.Current) is not null);
    }

    private static async Task TakeAsync(IInstanceProcess process, ExecInput first, IAsyncStreamReader<ExecInput> requests, CancellationToken cancellationToken)
    {
        var request = first;
        do
        {
            CheckLength(request.Stdin, "stdin");
            if (!request.Stdin.IsEmpty)
            {
                await process.WriteAsync(request.Stdin.Memory, cancellationToken);
            }

            if (request.Resize is { Columns: > 0, Rows: > 0 } size && first.Terminal && !ReferenceEquals(request, first))
            {
                await process.ResizeAsync(size, cancellationToken);
            }

            if (request.Signal != 0)
            {
                await process.SignalAsync(
                    request.Signal is > 0 and <= LastSignal
                        ? request.Signal
                        : throw StreamErrors.Of(StatusCode.InvalidArgument, "SignalInvalid", $"signal: {request.Signal} is not between 1 and {LastSignal}"),
                    cancellationToken);
            }

            if (request.CloseStdin)
            {
                await process.CloseInputAsync(cancellationToken);
            }
        }
        while (await requests.MoveNext(cancellationToken) && (request = requests.Current) is not null);

        await process.CloseInputAsync(cancellationToken);
    }

    private static async Task TakeAsync(
        IInstanceProcess process, ConsoleWriters.Seat seat, ConsoleInput first, IAsyncStreamReader<ConsoleInput> requests, CancellationToken cancellationToken)
    {
        var request = first;
        do
        {
            CheckLength(request.Data, "data");
            if (!request.Data.IsEmpty)
            {
                seat.Write();
                await process.WriteAsync(request.Data.Memory, cancellationToken);
            }

            // Who only reads along does not change what the other one sees.
            if (request.Resize is { Columns: > 0, Rows: > 0 } size && seat.MayResize)
            {
                await process.ResizeAsync(size, cancellationToken);
            }

            if (request.CloseStdin)
            {
                seat.Write();
                await process.CloseInputAsync(cancellationToken);
            }
        }
        while (await requests.MoveNext(cancellationToken) && (request = requests.Current) is not null);
    }
}
