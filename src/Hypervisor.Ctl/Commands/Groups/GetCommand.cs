using System.CommandLine;
using System.Globalization;
using Hypervisor.Ctl.Completion;
using Hypervisor.Ctl.Output;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Ctl.Commands.Groups;

internal sealed class GetCommand : CtlCommand
{
    private readonly Argument<string[]> _names = GroupArguments.Several();
    private readonly Option<OutputFormat> _output = CommonOptions.Output();
    private readonly Freshness _freshness = new();

    public override NameKind Completes => NameKind.Groups;

    public override void Declare(Command command)
    {
        command.Add(_names);
        command.Add(_freshness.Option);
        command.Add(_output);
    }

    public override Task<int> RunAsync(Invocation invocation, CancellationToken cancellationToken)
    {
        var printer = invocation.Printer(_output);
        var first = true;
        return EachName.RunAsync(invocation.Get(_names)!, name => name, invocation, async name =>
        {
            var group = await _freshness.CallAsync(
                invocation,
                options => invocation.Groups.GetGroupAsync(
                    new() { Project = invocation.Project, Group = name, Consistency = _freshness.Of(invocation) }, options),
                cancellationToken);
            if (printer.ForPeople && !first)
            {
                invocation.Environment.Out.WriteLine();
            }

            first = false;
            Write(invocation, printer, group);
        });
    }

    private static void Write(Invocation invocation, Printer printer, Group group)
    {
        if (printer.Format == OutputFormat.Name)
        {
            printer.WriteName(group.Metadata.Name);
        }
        else if (!printer.ForPeople)
        {
            printer.WriteDocument(group);
        }
        else
        {
            WriteDetails(printer, group, invocation.Environment.Time.GetUtcNow());
        }
    }

    private static void WriteDetails(Printer printer, Group group, DateTimeOffset now)
    {
        var (metadata, spec, status) = (group.Metadata, group.Spec ?? new(), group.Status ?? new());
        var (template, update) = (spec.Template?.Spec ?? new(), spec.Update ?? new());
        printer.WriteDetails(
            ("Name", metadata.Name),
            ("Project", metadata.Project),
            ("Uid", metadata.Uid),
            ("Labels", Layouts.Labels(metadata)),
            ("Members", GroupWaiter.Describe(group)),
            ("Gang", spec.Gang ? "yes" : ""),
            ("Revision", Number(status.Revision)),
            ("Type", Readable.Type(template.Type)),
            ("Image", template.Image),
            ("Update", $"{Number(update.MaxSurge)} more, {Number(update.MaxUnavailable)} fewer available"),
            ("Disruption", spec.Disruption is { } budget ? $"{Number(budget.MaxUnavailable)} fewer ready" : ""),
            ("Created", When(metadata.CreatedAt, now)),
            ("Deletion asked", When(metadata.DeletedAt, now)));
        foreach (var condition in status.Conditions)
        {
            printer.WriteLine(
                $"  {condition.Type}: {condition.Status.ToString().ToUpperInvariant()} {condition.Reason} {condition.Message}".TrimEnd());
        }
    }

    private static string Number(long number) => number.ToString(CultureInfo.InvariantCulture);

    private static string When(Google.Protobuf.WellKnownTypes.Timestamp? time, DateTimeOffset now) =>
        time is null ? "" : $"{Readable.Time(time)} ({Readable.Age(time, now)} ago)";
}
