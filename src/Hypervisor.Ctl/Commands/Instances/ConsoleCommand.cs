using System.CommandLine;
using Hypervisor.Ctl.Completion;
using Hypervisor.Ctl.Errors;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Ctl.Commands.Instances;

/// <summary>Connects standard input and output to an instance's console, line by line; the end of input (Ctrl-D) leaves it.</summary>
internal sealed class ConsoleCommand : CtlCommand
{
    private readonly Argument<string> _name = InstanceArguments.One();

    public override NameKind Completes => NameKind.Instances;

    public override void Declare(Command command) => command.Add(_name);

    public override async Task<int> RunAsync(Invocation invocation, CancellationToken cancellationToken)
    {
        invocation.Streaming = true;
        var environment = invocation.Environment;
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        using var call = invocation.Compute.AttachConsole(cancellationToken: stop.Token);
        var first = new ConsoleInput { Project = invocation.Project, Instance = invocation.Get(_name)! };
        var send = InputPump.RunAsync(environment, call.RequestStream, first, bytes => new ConsoleInput { Data = bytes }, stop.Token);
        await OneStream.ReadAsync(invocation, call.ResponseStream, message => environment.RawOut.Write(message.Data.Span), cancellationToken);
        await InputPump.EndAsync(send, stop);
        return ExitCode.Done;
    }
}
