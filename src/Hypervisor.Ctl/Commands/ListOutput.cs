using Google.Protobuf;
using Hypervisor.Ctl.Errors;
using Hypervisor.Ctl.Output;

namespace Hypervisor.Ctl.Commands;

/// <summary>Writes a list in any format.</summary>
internal static class ListOutput
{
    public static int Write<T>(
        Invocation invocation, Printer printer, IMessage answer, IReadOnlyList<T> items, TableLayout<T> layout, Func<T, string> name, string none)
    {
        switch (printer.Format)
        {
            case OutputFormat.Json or OutputFormat.Yaml:
                printer.WriteDocument(answer);
                break;
            case OutputFormat.Name:
                foreach (var item in items)
                {
                    printer.WriteName(name(item));
                }

                break;
            default:
                if (items.Count == 0)
                {
                    invocation.Environment.Error.WriteLine(none);
                }
                else
                {
                    printer.Table(layout.Titles).Write([.. items.Select(layout.Row)]);
                }

                break;
        }

        return ExitCode.Done;
    }
}
