using System.CommandLine;
using Hypervisor.Ctl.Completion;
using Hypervisor.Ctl.Output;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Ctl.Commands.Instances;

internal sealed class GetCommand : CtlCommand
{
    private readonly Argument<string[]> _names = InstanceArguments.Several();
    private readonly Option<OutputFormat> _output = CommonOptions.Output();
    private readonly Freshness _freshness = new();

    public override NameKind Completes => NameKind.Instances;

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
            var instance = await _freshness.CallAsync(
                invocation,
                options => invocation.Compute.GetInstanceAsync(
                    new() { Project = invocation.Project, Instance = name, Consistency = _freshness.Of(invocation) }, options),
                cancellationToken);
            if (printer.ForPeople && !first)
            {
                invocation.Environment.Out.WriteLine();
            }

            first = false;
            Write(invocation, printer, instance);
        });
    }

    private static void Write(Invocation invocation, Printer printer, Instance instance)
    {
        if (printer.Format == OutputFormat.Name)
        {
            printer.WriteName(instance.Metadata.Name);
        }
        else if (!printer.ForPeople)
        {
            printer.WriteDocument(instance);
        }
        else
        {
            WriteDetails(printer, instance, invocation.Environment.Time.GetUtcNow());
        }
    }

    private static void WriteDetails(Printer printer, Instance instance, DateTimeOffset now)
    {
        var (metadata, spec, status) = (instance.Metadata, instance.Spec ?? new(), instance.Status ?? new());
        printer.WriteDetails(
            ("Name", metadata.Name),
            ("Project", metadata.Project),
            ("Uid", metadata.Uid),
            ("Group", metadata.Owner?.Name),
            ("Labels", string.Join(", ", metadata.Labels.OrderBy(l => l.Key, StringComparer.Ordinal).Select(l => $"{l.Key}={l.Value}"))),
            ("Type", Readable.Type(spec.Type)),
            ("Image", spec.ImageDigest.Length > 0 ? $"{spec.Image} ({spec.ImageDigest})" : spec.Image),
            ("CPUs", Readable.Cpus(spec.Resources?.CpuMillicores ?? 0)),
            ("Memory", Readable.Bytes(spec.Resources?.MemoryBytes ?? 0)),
            ("Devices", Layouts.Devices(spec.Resources)),
            ("Command", string.Join(' ', spec.Process?.Command ?? [])),
            ("Arguments", string.Join(' ', spec.Process?.Args ?? [])),
            ("Ports", string.Join(", ", spec.Network?.Ports.Select(Layouts.Port) ?? [])),
            ("Disks", string.Join(", ", spec.Disks.Select(d => $"{d.Name} ({d.Kind.ToString().ToLowerInvariant()}, {Readable.Bytes(d.SizeBytes)})"))),
            ("Disk rates", DiskRates(spec.DiskRates ?? new())),
            ("Network rates", NetworkRates(spec.Network?.Rates ?? new())),
            ("Wished", Readable.Wish(spec.DesiredState)),
            ("State", Watching.InstanceWaiter.Describe(instance)),
            ("Exit", Exit(status.Exit)),
            ("Node", instance.Placement?.Node),
            ("Driver", Layouts.Runs(status)),
            ("Machine", Machine(spec.Machine)),
            ("Source", Source(spec.Source)),
            ("Snapshots", string.Join(", ", spec.Snapshots.Select(s => s.Name))),
            ("Pending", instance.Placement is { Reason.Length: > 0 } p ? $"{p.Reason}: {p.Message}" : ""),
            ("Addresses", string.Join(", ", status.IpAddresses)),
            ("Created", When(metadata.CreatedAt, now)),
            ("Started", When(status.StartedAt, now)),
            ("Finished", When(status.FinishedAt, now)),
            ("Deletion asked", When(metadata.DeletedAt, now)),
            ("Generation", status.ObservedGeneration < metadata.Generation ? $"{metadata.Generation} (the node has reached {status.ObservedGeneration})" : ""));
        foreach (var condition in status.Conditions)
        {
            printer.WriteLine(
                $"  {condition.Type}: {condition.Status.ToString().ToUpperInvariant()} {condition.Reason} {condition.Message}".TrimEnd());
        }
    }

    private static string Machine(MachineSpec? machine) => string.Join(
        ", ",
        new[]
        {
            machine is null or { Firmware: Firmware.Unspecified } ? "" : machine.Firmware.ToString().ToLowerInvariant(),
            machine?.CpuModel ?? "",
            machine is null or { Accelerator: AcceleratorRequirement.Unspecified } ? "" : $"accelerator {machine.Accelerator.ToString().ToLowerInvariant()}",
            machine is { WarmStart: true } ? "warm start" : "",
            machine?.Topology is { } topology ? $"{topology.Sockets} sockets, {topology.Cores} cores, {topology.Threads} threads" : "",
        }.Where(part => part.Length > 0));

    private static string DiskRates(DiskRates rates) => Rates(
        (rates.ReadBytesPerSecond, $"read {Readable.Bytes(rates.ReadBytesPerSecond)}"),
        (rates.WriteBytesPerSecond, $"write {Readable.Bytes(rates.WriteBytesPerSecond)}"),
        (rates.ReadOperationsPerSecond, $"{rates.ReadOperationsPerSecond} reads"),
        (rates.WriteOperationsPerSecond, $"{rates.WriteOperationsPerSecond} writes"));

    private static string NetworkRates(NetworkRates rates) => Rates(
        (rates.ReceiveBytesPerSecond, $"receive {Readable.Bytes(rates.ReceiveBytesPerSecond)}"),
        (rates.TransmitBytesPerSecond, $"transmit {Readable.Bytes(rates.TransmitBytesPerSecond)}"));

    private static string Rates(params (long Rate, string Words)[] rates) => string.Join(", ", rates.Where(rate => rate.Rate > 0).Select(rate => rate.Words + "/s"));

    private static string Source(CloneSource? source) => source switch
    {
        null => "",
        { SnapshotUid.Length: > 0 } => $"{source.InstanceUid} (snapshot {source.SnapshotUid})",
        _ => source.InstanceUid,
    };

    private static string Exit(ExitStatus? exit) => exit switch
    {
        null => "",
        { OutOfMemory: true } => $"code {exit.Code}, out of memory",
        { Signal: > 0 } => $"code {exit.Code}, killed by signal {exit.Signal}",
        _ => $"code {exit.Code}",
    };

    private static string When(Google.Protobuf.WellKnownTypes.Timestamp? time, DateTimeOffset now) =>
        time is null ? "" : $"{Readable.Time(time)} ({Readable.Age(time, now)} ago)";
}
