using System.CommandLine;
using Hypervisor.Ctl.Completion;
using Hypervisor.Ctl.Errors;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Ctl.Commands.Instances;

/// <summary>Runs a command in an instance; its exit code becomes this program's. Without a terminal of its own (no -t).</summary>
internal sealed class ExecCommand : CtlCommand
{
    private readonly Argument<string> _name = InstanceArguments.One();
    private readonly Argument<string[]> _command = new("command")
    {
        Description = "The command and its arguments, after --",
        Arity = ArgumentArity.OneOrMore,
    };

    private readonly Option<bool> _input = new("--stdin", "-i") { Description = "Send standard input to the command" };

    public override NameKind Completes => NameKind.Instances;

    public override void Declare(Command command)
    {
        command.Add(_name);
        command.Add(_command);
        command.Add(_input);
    }

    public override async Task<int> RunAsync(Invocation invocation, CancellationToken cancellationToken)
    {
        invocation.Streaming = true;
        var environment = invocation.Environment;
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        using var call = invocation.Compute.Exec(cancellationToken: stop.Token);
        var first = new ExecInput { Project = invocation.Project, Instance = invocation.Get(_name)!, Command = { invocation.Get(_command)! } };
        var send = invocation.Get(_input)
            ? InputPump.RunAsync(environment, call.RequestStream, first, bytes => new ExecInput { Stdin = bytes }, stop.Token)
            : InputPump.SendOnlyAsync(call.RequestStream, first, stop.Token);
        ExitStatus? exit = null;
        await OneStream.ReadAsync(invocation, call.ResponseStream, message =>
        {
            environment.RawOut.Write(message.Stdout.Span);
            environment.RawError.Write(message.Stderr.Span);
            exit = message.Exit ?? exit;
        }, cancellationToken);
        await InputPump.EndAsync(send, stop);
        return exit?.Code ?? throw new CtlException(ExitCode.Refused, "The server ended the stream without an exit code.");
    }
}
