using System.CommandLine;
using Hypervisor.Ctl.Completion;
using Hypervisor.Ctl.Errors;
using Hypervisor.Ctl.Terminals;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Ctl.Commands.Instances;

/// <summary>
/// Shows the last of what the main process wrote and what it writes from now on, and sends it standard input if it takes any and nobody else
/// writes to it. From a terminal to a terminal Ctrl-P Ctrl-Q leaves it; else an interrupt does.
/// </summary>
internal sealed class ConsoleCommand : CtlCommand
{
    private readonly Argument<string> _name = InstanceArguments.One();

    public override NameKind Completes => NameKind.Instances;

    public override void Declare(Command command) => command.Add(_name);

    public override async Task<int> RunAsync(Invocation invocation, CancellationToken cancellationToken)
    {
        invocation.Streaming = true;
        var environment = invocation.Environment;
        var name = invocation.Get(_name)!;
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        using var call = invocation.Compute.AttachConsole(cancellationToken: stop.Token);
        using var pump = new InputPump<ConsoleInput>(call.RequestStream, stop.Token);
        var about = new TaskCompletionSource<ConsoleAbout>(TaskCreationOptions.RunContinuationsAsynchronously);
        LocalTerminal? terminal = null;
        var send = SendAsync();
        try
        {
            await OneStream.ReadAsync(invocation, call.ResponseStream, message =>
            {
                // Before its output: that may move a cursor.
                about.TrySetResult(Prepare(message.About ?? new ConsoleAbout()));
                environment.RawOut.Write(message.Data.Span);
                environment.RawError.Write(message.ErrorData.Span);
                if (message.LostBytes > 0)
                {
                    environment.Error.WriteLine($"({message.LostBytes} bytes came too fast and are not shown; 'instance logs' has them)");
                }
            }, stop.Token);
        }
        catch (OperationCanceledException) when (stop.IsCancellationRequested && !cancellationToken.IsCancellationRequested)
        {
            // Left by its keys.
        }
        finally
        {
            terminal?.Dispose();
            about.TrySetCanceled(CancellationToken.None);
            await InputPump<ConsoleInput>.EndAsync(send, stop);
        }

        return ExitCode.Done;

        ConsoleAbout Prepare(ConsoleAbout told)
        {
            if (!about.Task.IsCompleted && told.Terminal && (terminal = LocalTerminal.Open()) is not null)
            {
                terminal.PassThrough(() => pump.Post(new ConsoleInput { Resize = ExecCommand.SizeOfWindow() }));
            }

            return told;
        }

        async Task SendAsync()
        {
            await pump.SendAsync(new ConsoleInput { Project = invocation.Project, Instance = name });
            var writes = (await about.Task).Input;
            if (!writes && terminal is null)
            {
                return;
            }

            // Who only reads types too: the keys that leave it.
            if (writes && terminal is not null)
            {
                await pump.SendAsync(new ConsoleInput { Resize = ExecCommand.SizeOfWindow() });
            }

            await using var input = environment.OpenInput();
            var buffer = new byte[Limits.InputChunkBytes];
            var keys = new DetachKeys();
            int read;
            while ((read = await input.ReadAsync(buffer, stop.Token)) > 0)
            {
                var leaving = terminal is null ? null : keys.Find(buffer.AsSpan(0, read));
                if (writes && (leaving ?? read) > 0)
                {
                    await pump.SendAsync(new ConsoleInput { Data = Google.Protobuf.ByteString.CopyFrom(buffer, 0, leaving ?? read) });
                }

                if (leaving is not null)
                {
                    await stop.CancelAsync();
                    return;
                }
            }
        }
    }
}
