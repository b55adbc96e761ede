using Hypervisor.Ctl.Output;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Ctl.Commands.Groups;

/// <summary>What a mutation prints about the group it changed.</summary>
internal static class GroupResult
{
    public static void Write(Invocation invocation, Printer printer, Group group, string what, bool showState)
    {
        switch (printer.Format)
        {
            case OutputFormat.Json or OutputFormat.Yaml:
                printer.WriteDocument(group);
                break;
            case OutputFormat.Name:
                printer.WriteName(group.Metadata.Name);
                break;
            default:
                printer.WriteLine($"{group.Metadata.Name} {what}{(showState ? $": {GroupWaiter.Describe(group)}" : "")}");
                break;
        }

        invocation.Environment.Out.Flush();
    }
}
