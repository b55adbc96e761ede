using System.CommandLine;
using System.Text;
using Hypervisor.Ctl.Completion;
using Hypervisor.Ctl.Errors;
using Hypervisor.Ctl.Output;

namespace Hypervisor.Ctl.Commands.Instances;

internal sealed class LogsCommand : CtlCommand
{
    private readonly Argument<string> _name = InstanceArguments.One();
    private readonly Option<bool> _follow = new("--follow", "-f") { Description = "Go on as long as the instance writes" };
    private readonly Option<bool> _raw = new("--raw") { Description = "Let control characters through to a terminal" };

    public override NameKind Completes => NameKind.Instances;

    public override void Declare(Command command)
    {
        command.Add(_name);
        command.Add(_follow);
        command.Add(_raw);
    }

    public override async Task<int> RunAsync(Invocation invocation, CancellationToken cancellationToken)
    {
        invocation.Streaming = true;
        var environment = invocation.Environment;
        // Files and pipes get the bytes as they were written; a terminal would obey them.
        var clean = environment.OutIsTerminal && !invocation.Get(_raw);
        var decoder = Encoding.UTF8.GetDecoder();
        using var call = invocation.Compute.StreamLogs(
            new() { Project = invocation.Project, Instance = invocation.Get(_name)!, Follow = invocation.Get(_follow) },
            cancellationToken: cancellationToken);
        await OneStream.ReadAsync(invocation, call.ResponseStream, message =>
        {
            if (!clean)
            {
                environment.RawOut.Write(message.Data.Span);
                return;
            }

            var characters = new char[Encoding.UTF8.GetMaxCharCount(message.Data.Length)];
            var count = decoder.GetChars(message.Data.Span, characters, flush: false);
            environment.Out.Write(TerminalText.CleanLines(new string(characters, 0, count)));
            environment.Out.Flush();
        }, cancellationToken);
        return ExitCode.Done;
    }
}
