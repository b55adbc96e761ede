using Hypervisor.Ctl.Output;
using Hypervisor.Ctl.Watching;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Ctl.Commands.Instances;

/// <summary>What a mutation prints about the instance it changed.</summary>
internal static class InstanceResult
{
    public static void Write(Invocation invocation, Printer printer, Instance instance, string what, bool showState)
    {
        switch (printer.Format)
        {
            case OutputFormat.Json or OutputFormat.Yaml:
                printer.WriteDocument(instance);
                break;
            case OutputFormat.Name:
                printer.WriteName(instance.Metadata.Name);
                break;
            default:
                var node = instance.Placement is { Node.Length: > 0 } placement ? $" on {placement.Node}" : "";
                var address = instance.Status?.IpAddresses.FirstOrDefault() is { Length: > 0 } ip ? $" at {ip}" : "";
                var state = showState ? $": {InstanceWaiter.Describe(instance)}{node}{address}" : "";
                printer.WriteLine($"{instance.Metadata.Name} {what}{state}");
                break;
        }

        invocation.Environment.Out.Flush();
    }
}
