using System.CommandLine;
using Hypervisor.Ctl.Completion;
using Hypervisor.Ctl.Errors;
using Hypervisor.Ctl.Terminals;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Ctl.Commands.Instances;

/// <summary>
/// Shows what the main process writes from now on, and sends it standard input if it takes any. With a process that has a terminal,
/// Ctrl-P Ctrl-Q leaves it; else an interrupt does.
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
        var instance = await invocation.CallAsync(
            options => invocation.Compute.GetInstanceAsync(new() { Project = invocation.Project, Instance = name }, options), cancellationToken);
        var process = instance.Spec?.Process ?? new ProcessSpec();
        using var terminal = process.Terminal ? LocalTerminal.Open() : null;
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        using var call = invocation.Compute.AttachConsole(cancellationToken: stop.Token);
        using var pump = new InputPump<ConsoleInput>(call.RequestStream, stop.Token);
        terminal?.PassThrough(() => pump.Post(new ConsoleInput { Resize = ExecCommand.SizeOfWindow() }));
        var send = SendAsync();
        try
        {
            await OneStream.ReadAsync(invocation, call.ResponseStream, message =>
            {
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
            await InputPump<ConsoleInput>.EndAsync(send, stop);
        }

        return ExitCode.Done;

        async Task SendAsync()
        {
            var first = new ConsoleInput { Project = invocation.Project, Instance = name };
            first.Resize = terminal is null ? null : ExecCommand.SizeOfWindow();
            await pump.SendAsync(first);
            if (!process.Stdin)
            {
                return;
            }

            await using var input = environment.OpenInput();
            var buffer = new byte[Limits.InputChunkBytes];
            var keys = new DetachKeys();
            int read;
            while ((read = await input.ReadAsync(buffer, stop.Token)) > 0)
            {
                var leaving = terminal is null ? null : keys.Find(buffer.AsSpan(0, read));
                if ((leaving ?? read) > 0)
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
