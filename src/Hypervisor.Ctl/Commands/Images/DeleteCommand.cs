using System.CommandLine;
using Hypervisor.Ctl.Completion;
using Hypervisor.Ctl.Output;

namespace Hypervisor.Ctl.Commands.Images;

internal sealed class DeleteCommand : CtlCommand
{
    private readonly Argument<string[]> _images = new("image") { Description = "\"name\" or \"name:tag\"", Arity = ArgumentArity.OneOrMore };

    public override NameKind Completes => NameKind.Images;

    public override void Declare(Command command) => command.Add(_images);

    public override Task<int> RunAsync(Invocation invocation, CancellationToken cancellationToken) =>
        EachName.RunAsync(invocation.Get(_images)!, image => image, invocation, async image =>
        {
            var requestId = invocation.NewRequestId();
            await invocation.CallAsync(
                options => invocation.Compute.DeleteImageAsync(new() { Project = invocation.Project, Image = image, RequestId = requestId }, options),
                cancellationToken);
            invocation.Environment.Out.WriteLine($"{TerminalText.Clean(image)} deleted");
        });
}
