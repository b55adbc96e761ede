using System.CommandLine;
using System.Runtime.InteropServices;
using Hypervisor.Ctl.Completion;
using Hypervisor.Ctl.Errors;
using Hypervisor.Ctl.Terminals;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Ctl.Commands.Instances;

/// <summary>Runs a command in an instance; its exit code becomes this program's.</summary>
internal sealed class ExecCommand : CtlCommand
{
    private readonly Argument<string> _name = InstanceArguments.One();
    private readonly Argument<string[]> _command = new("command")
    {
        Description = "The command and its arguments, after --",
        Arity = ArgumentArity.OneOrMore,
    };

    private readonly Option<bool> _input = new("--stdin", "-i") { Description = "Send standard input to the command" };
    private readonly Option<bool> _terminal = new("--tty", "-t") { Description = "Give the command a terminal, connected to this one" };
    private readonly Option<string> _user = new("--user", "-u") { Description = "User, uid, user:group or uid:gid (default: the instance's)", HelpName = "USER" };
    private readonly Option<string> _directory = new("--workdir", "-w") { Description = "Working directory (default: the instance's)", HelpName = "PATH" };
    private readonly Option<string[]> _variables = new("--env", "-e") { Description = "Environment variable (repeatable)", HelpName = "NAME=VALUE" };

    public override NameKind Completes => NameKind.Instances;

    public override void Declare(Command command)
    {
        command.Add(_name);
        command.Add(_command);
        command.Add(_input);
        command.Add(_terminal);
        command.Add(_user);
        command.Add(_directory);
        command.Add(_variables);
    }

    public override async Task<int> RunAsync(Invocation invocation, CancellationToken cancellationToken)
    {
        invocation.Streaming = true;
        var environment = invocation.Environment;
        using var terminal = invocation.Get(_terminal) ? OpenTerminal() : null;
        var first = First(invocation);
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        using var call = invocation.Compute.Exec(cancellationToken: stop.Token);
        using var pump = new InputPump<ExecInput>(call.RequestStream, stop.Token);
        var signals = terminal is null ? PassSignals(pump) : [];
        terminal?.PassThrough(() => pump.Post(new ExecInput { Resize = SizeOfWindow() }));
        var send = SendAsync(environment, pump, first);
        try
        {
            ExitStatus? exit = null;
            await OneStream.ReadAsync(invocation, call.ResponseStream, message =>
            {
                environment.RawOut.Write(message.Stdout.Span);
                environment.RawError.Write(message.Stderr.Span);
                exit = message.Exit ?? exit;
            }, cancellationToken);
            return exit?.Code ?? throw new CtlException(ExitCode.Refused, "The server ended the stream without an exit code.");
        }
        finally
        {
            await InputPump<ExecInput>.EndAsync(send, stop);
            signals.ForEach(signal => signal.Dispose());
        }
    }

    internal static TerminalSize SizeOfWindow()
    {
        var (columns, rows) = LocalTerminal.Size;
        return new TerminalSize { Columns = columns, Rows = rows };
    }

    internal static LocalTerminal OpenTerminal() =>
        LocalTerminal.Open() ?? throw CtlException.Usage("Standard input is not a terminal.", "Leave out -t.");

    private static async Task SendAsync(CtlEnvironment environment, InputPump<ExecInput> pump, ExecInput first)
    {
        await pump.SendAsync(first);
        if (first.AttachStdin)
        {
            await pump.RunAsync(environment, bytes => new ExecInput { Stdin = bytes }, new ExecInput { CloseStdin = true });
        }
    }

    private ExecInput First(Invocation invocation)
    {
        var first = new ExecInput
        {
            Project = invocation.Project,
            Instance = invocation.Get(_name)!,
            Command = { invocation.Get(_command)! },
            Terminal = invocation.Get(_terminal),
            AttachStdin = invocation.Get(_input),
            User = invocation.Get(_user) ?? "",
            WorkingDir = invocation.Get(_directory) ?? "",
            Resize = invocation.Get(_terminal) ? SizeOfWindow() : null,
        };
        foreach (var variable in invocation.Get(_variables) ?? [])
        {
            var equals = variable.IndexOf('=', StringComparison.Ordinal);
            first.Env.Add(equals > 0
                ? new EnvVar { Name = variable[..equals], Value = variable[(equals + 1)..] }
                : throw CtlException.Usage($"--env: '{variable}' is not NAME=VALUE."));
        }

        return first;
    }

    /// <summary>Without a terminal an interrupt is passed on to the command; the second one ends this program.</summary>
    private static List<PosixSignalRegistration> PassSignals(InputPump<ExecInput> pump)
    {
        var passed = 0;
        return [.. new[] { PosixSignal.SIGINT, PosixSignal.SIGTERM }.Select(signal => PosixSignalRegistration.Create(signal, context =>
        {
            if (Interlocked.Increment(ref passed) == 1)
            {
                context.Cancel = true;
                pump.Post(new ExecInput { Signal = LocalTerminal.NumberOf(context.Signal) });
            }
        }))];
    }
}
