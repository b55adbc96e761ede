using System.CommandLine;
using Hypervisor.Ctl.Completion;
using Hypervisor.Ctl.Output;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Ctl.Commands.Images;

internal sealed class InspectCommand : CtlCommand
{
    private readonly Argument<string[]> _images = new("image") { Description = "\"name\" or \"name:tag\"", Arity = ArgumentArity.OneOrMore };
    private readonly Option<OutputFormat> _output = CommonOptions.Output();
    private readonly Freshness _freshness = new();

    public override NameKind Completes => NameKind.Images;

    public override void Declare(Command command)
    {
        command.Add(_images);
        command.Add(_freshness.Option);
        command.Add(_output);
    }

    public override Task<int> RunAsync(Invocation invocation, CancellationToken cancellationToken)
    {
        var printer = invocation.Printer(_output);
        var first = true;
        return EachName.RunAsync(invocation.Get(_images)!, image => image, invocation, async name =>
        {
            var image = await _freshness.CallAsync(
                invocation,
                options => invocation.Compute.GetImageAsync(
                    new() { Project = invocation.Project, Image = name, Consistency = _freshness.Of(invocation) }, options),
                cancellationToken);
            if (printer.Format == OutputFormat.Name)
            {
                printer.WriteName(image.Metadata.Name);
                return;
            }

            if (!printer.ForPeople)
            {
                printer.WriteDocument(image);
                return;
            }

            if (!first)
            {
                invocation.Environment.Out.WriteLine();
            }

            first = false;
            WriteDetails(printer, image, invocation.Environment.Time.GetUtcNow());
        });
    }

    private static void WriteDetails(Printer printer, Image image, DateTimeOffset now) => printer.WriteDetails(
        ("Name", image.Metadata.Name),
        ("Uid", image.Metadata.Uid),
        ("Format", Layouts.FormatOf(image)),
        ("Runs as", string.Join(", ", image.Types_.Select(Readable.Type))),
        ("Platform", Layouts.Platform(image)),
        ("Size", Readable.Bytes(image.SizeBytes)),
        ("Disk size", image.VirtualSizeBytes > 0 ? Readable.Bytes(image.VirtualSizeBytes) : ""),
        ("Digest", image.Digest),
        ("User", image.DefaultUser),
        ("Command", string.Join(' ', image.DefaultCommand)),
        ("Source", image.Source),
        ("Stored", image.Stored ? "yes" : "no, its layers are at its registry"),
        ("Imported", image.Metadata.CreatedAt is null ? "" : $"{Readable.Time(image.Metadata.CreatedAt)} ({Readable.Age(image.Metadata.CreatedAt, now)} ago)"));
}
