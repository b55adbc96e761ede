using System.CommandLine;
using Hypervisor.Ctl.Completion;
using Hypervisor.Ctl.Output;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Ctl.Commands.Nodes;

internal sealed class GetCommand : CtlCommand
{
    private readonly Argument<string[]> _names = NodeArguments.Several();
    private readonly Option<OutputFormat> _output = CommonOptions.Output();
    private readonly Freshness _freshness = new();

    public override NameKind Completes => NameKind.Nodes;

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
            var node = await _freshness.CallAsync(
                invocation,
                options => invocation.Cluster.GetNodeAsync(new() { Node = name, Consistency = _freshness.Of(invocation) }, options),
                cancellationToken);
            if (printer.Format == OutputFormat.Name)
            {
                printer.WriteName(node.Metadata.Name);
                return;
            }

            if (!printer.ForPeople)
            {
                printer.WriteDocument(node);
                return;
            }

            if (!first)
            {
                invocation.Environment.Out.WriteLine();
            }

            first = false;
            WriteDetails(printer, node, invocation.Environment.Time.GetUtcNow());
        });
    }

    private static string Guests(NodeInventory inventory) => inventory.AcceleratorMessage.Length == 0
        ? Readable.Accelerator(inventory.Accelerator)
        : $"{Readable.Accelerator(inventory.Accelerator)} ({inventory.AcceleratorMessage})";

    /// <summary>"1.5/4, 14 allocatable": what is placed, what the machine has and, from a server that says it, what may be placed.</summary>
    private static string Room(NodeStatus status, Func<Resources, long> of, Func<long, string> format)
    {
        var (allocated, capacity) = (status.Allocated ?? new(), status.Inventory?.Capacity ?? new());
        return Layouts.Share(of(allocated), of(capacity), format) + (status.Allocatable is { } allocatable ? $", {format(of(allocatable))} allocatable" : "");
    }

    private static void WriteDetails(Printer printer, Node node, DateTimeOffset now)
    {
        var (metadata, status) = (node.Metadata, node.Status ?? new());
        var inventory = status.Inventory ?? new();
        var since = status.LivenessSince is null ? "" : $" for {Readable.Age(status.LivenessSince, now)}";
        printer.WriteDetails(
            ("Name", metadata.Name),
            ("Uid", metadata.Uid),
            ("Labels", Layouts.Labels(metadata)),
            ("Status", $"{Layouts.NodeStatusOf(node).Text}{since}"),
            ("Because", status.LivenessMessage),
            ("Drain", Layouts.Drain(node)),
            ("Taints", Layouts.Taints(node.Spec)),
            ("Role", inventory.Role),
            ("Zone", Layouts.Place(inventory)),
            ("Hostname", inventory.Hostname),
            ("Agent", $"{inventory.AgentAddress} {inventory.AgentVersion}".Trim()),
            ("System", $"{inventory.OperatingSystem} {inventory.KernelVersion} {inventory.Architecture}".Trim()),
            ("CPUs", Room(status, resources => resources.CpuMillicores, Readable.Cpus)),
            ("Memory", Room(status, resources => resources.MemoryBytes, Readable.Bytes)),
            ("Disk", Room(status, resources => resources.DiskBytes, Readable.Bytes)),
            ("Devices", Layouts.DeviceShares(status.Allocated, inventory.Capacity)),
            ("Overcommit", Layouts.Overcommitted(node.Spec?.Overcommit)),
            ("Reserve", Layouts.Amounts(node.Spec?.Reserved)),
            ("Guests", Guests(inventory)),
            ("Instances", status.InstanceCount.ToString(System.Globalization.CultureInfo.InvariantCulture)),
            ("Subnet", status.Subnet),
            ("Joined", metadata.CreatedAt is null ? "" : $"{Readable.Time(metadata.CreatedAt)} ({Readable.Age(metadata.CreatedAt, now)} ago)"));
        foreach (var runtime in inventory.Runtimes)
        {
            printer.WriteLine(runtime.Available
                ? $"  {Layouts.Runtime(runtime)} {runtime.Version}"
                : $"  {Layouts.Runtime(runtime)} unavailable: {runtime.Message}");
            foreach (var warning in runtime.Warnings)
            {
                printer.WriteLine($"    warning: {warning.Message}");
            }
        }

        if (status.Unclaimed.Count > 0)
        {
            printer.WriteLine($"  to settle: hypervisor-ctl node adopt {metadata.Name} INSTANCE, or node purge {metadata.Name} INSTANCE");
        }

        foreach (var unclaimed in status.Unclaimed)
        {
            printer.WriteLine(
                $"  unclaimed: {Readable.Type(unclaimed.Type)} {Layouts.UnclaimedName(unclaimed)} ({unclaimed.Uid}) {Layouts.UnclaimedState(unclaimed)}");
        }
    }
}
