using System.CommandLine;
using Hypervisor.Ctl.Output;

namespace Hypervisor.Ctl.Commands.Images;

internal sealed class ListCommand : CtlCommand
{
    private readonly Option<OutputFormat> _output = CommonOptions.Output();
    private readonly Freshness _freshness = new();

    public override void Declare(Command command)
    {
        command.Add(_freshness.Option);
        command.Add(_output);
    }

    public override async Task<int> RunAsync(Invocation invocation, CancellationToken cancellationToken)
    {
        var printer = invocation.Printer(_output);
        var answer = await Pages.ReadAsync(
            (token, options) => invocation.Compute.ListImagesAsync(
                new() { Project = invocation.Project, PageSize = Limits.PageSize, PageToken = token, Consistency = _freshness.Of(invocation) }, options),
            page => page.List,
            static (all, page) => all.Images.Add(page.Images),
            invocation,
            cancellationToken);
        var layout = Layouts.Images(invocation.Environment.Time.GetUtcNow(), printer.Format == OutputFormat.Wide);
        _freshness.Tell(invocation, answer.List);
        return ListOutput.Write(
            invocation, printer, answer, answer.Images, layout, i => i.Metadata.Name,
            "No images. 'hypervisor-ctl image import FILE' uploads one.");
    }
}
