using Hypervisor.Ctl.Specs;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Ctl.Output;

/// <summary>The columns of each kind of object.</summary>
internal static class Layouts
{
    public static TableLayout<Instance> Instances(DateTimeOffset now, bool wide, bool withProject)
    {
        List<(string Title, Func<Instance, Cell> Cell)> columns =
        [
            ("NAME", i => i.Metadata.Name),
            ("TYPE", i => Readable.Type(i.Spec?.Type ?? default)),
            ("STATE", StateOf),
            ("NODE", i => i.Placement?.Node),
            ("ADDRESS", i => i.Status?.IpAddresses.FirstOrDefault()),
            ("DRIVER", i => Runs(i.Status)),
            ("AGE", i => Readable.Age(i.Metadata.CreatedAt, now)),
        ];
        if (withProject)
        {
            columns.Insert(0, ("PROJECT", i => i.Metadata.Project));
        }

        if (wide)
        {
            columns.AddRange(
            [
                ("IMAGE", i => i.Spec?.Image),
                ("CPUS", i => Readable.Cpus(i.Spec?.Resources?.CpuMillicores ?? 0)),
                ("MEMORY", i => Readable.Bytes(i.Spec?.Resources?.MemoryBytes ?? 0)),
                ("DEVICES", i => Devices(i.Spec?.Resources)),
                ("PORTS", i => string.Join(',', i.Spec?.Network?.Ports.Select(Port) ?? [])),
                ("UID", i => i.Metadata.Uid),
            ]);
        }

        return Of(columns);
    }

    public static TableLayout<Snapshot> Snapshots(DateTimeOffset now, bool wide) => Of<Snapshot>(
    [
        ("NAME", s => s.Spec.Name),
        ("STATE", s => SnapshotStateOf(s.Status ?? new())),
        ("MEMORY", s => s.Spec.Memory ? "yes" : "no"),
        ("SIZE", s => s.Status is { SizeBytes: > 0 } status ? Readable.Bytes(status.SizeBytes) : ""),
        ("AGE", s => Readable.Age(s.Status?.TakenAt ?? s.Spec.CreatedAt, now)),
        .. wide
            ? (ReadOnlySpan<(string, Func<Snapshot, Cell>)>)[("QUIESCED", s => s.Status is { Quiesced: true } ? "yes" : "no"), ("UID", s => s.Spec.Uid)]
            : [],
        ("MESSAGE", s => s.Status?.Message),
    ]);

    private static Cell SnapshotStateOf(SnapshotStatus status) => status.State switch
    {
        SnapshotState.Ready => new("READY", Tone.Good),
        SnapshotState.Failed => new($"FAILED ({status.Reason})", Tone.Bad),
        _ => new("CREATING", Tone.Busy),
    };

    public static TableLayout<Node> Nodes(DateTimeOffset now, bool wide)
    {
        List<(string Title, Func<Node, Cell> Cell)> columns =
        [
            ("NAME", n => n.Metadata.Name),
            ("STATUS", NodeStatusOf),
            ("ROLE", n => n.Status?.Inventory?.Role),
            ("ZONE", n => Place(n.Status?.Inventory)),
            ("GUESTS", n => Readable.Accelerator(n.Status?.Inventory?.Accelerator ?? default)),
            ("INSTANCES", n => (n.Status?.InstanceCount ?? 0).ToString(System.Globalization.CultureInfo.InvariantCulture)),
            ("CPUS", n => Share(n.Status?.Allocated?.CpuMillicores, n.Status?.Inventory?.Capacity?.CpuMillicores, Readable.Cpus)),
            ("MEMORY", n => Share(n.Status?.Allocated?.MemoryBytes, n.Status?.Inventory?.Capacity?.MemoryBytes, Readable.Bytes)),
            ("AGE", n => Readable.Age(n.Metadata.CreatedAt, now)),
        ];
        if (wide)
        {
            columns.AddRange(
            [
                ("DEVICES", n => DeviceShares(n.Status?.Allocated, n.Status?.Inventory?.Capacity)),
                ("TAINTS", n => Taints(n.Spec)),
                ("RUNTIMES", n => string.Join(',', n.Status?.Inventory?.Runtimes.Where(r => r.Available).Select(Runtime) ?? [])),
                ("ADDRESS", n => n.Status?.Inventory?.AgentAddress),
                ("SUBNET", n => n.Status?.Subnet),
                ("KERNEL", n => n.Status?.Inventory?.KernelVersion),
                ("AGENT", n => n.Status?.Inventory?.AgentVersion),
                ("UID", n => n.Metadata.Uid),
            ]);
        }

        return Of(columns);
    }

    /// <summary>One row per instance that a node holds and nobody claims.</summary>
    public static TableLayout<(Node Node, UnclaimedInstance Instance)> Unclaimed() => Of<(Node Node, UnclaimedInstance Instance)>(
    [
        ("NODE", row => row.Node.Metadata.Name),
        ("INSTANCE", row => UnclaimedName(row.Instance)),
        ("TYPE", row => Readable.Type(row.Instance.Type)),
        ("STATE", row => UnclaimedState(row.Instance)),
        ("ADOPTABLE", row => row.Instance.Adoptable ? "yes" : "no"),
        ("UID", row => row.Instance.Uid),
    ]);

    public static string UnclaimedName(UnclaimedInstance instance) => instance.Name.Length == 0 ? "-" : $"{instance.Project}/{instance.Name}";

    public static string UnclaimedState(UnclaimedInstance instance) =>
        instance.State == InstanceState.Unspecified ? "half-made" : Readable.State(instance.State);

    public static TableLayout<Image> Images(DateTimeOffset now, bool wide) => Of<Image>(
    [
        ("NAME", i => i.Metadata.Name),
        ("FORMAT", i => FormatOf(i)),
        ("TYPE", i => string.Join(',', i.Types_.Select(Readable.Type))),
        ("SIZE", i => Readable.Bytes(i.SizeBytes)),
        .. wide ? (ReadOnlySpan<(string, Func<Image, Cell>)>)[("DISK", i => i.VirtualSizeBytes > 0 ? Readable.Bytes(i.VirtualSizeBytes) : ""), ("USER", i => i.DefaultUser)] : [],
        ("PLATFORM", i => Platform(i)),
        ("DIGEST", i => wide || i.Digest.Length <= 19 ? i.Digest : i.Digest[..19]),
        ("AGE", i => Readable.Age(i.Metadata.CreatedAt, now)),
    ]);

    public static string FormatOf(Image image) => image.Format == ImageFormat.Unspecified ? "oci" : image.Format.ToString().ToLowerInvariant();

    public static string Platform(Image image) => $"{image.OperatingSystem}/{image.Architecture}".Trim('/');

    public static TableLayout<Event> Events(DateTimeOffset now, bool wide) => Of<Event>(
    [
        ("LAST", e => Readable.Age(e.LastAt, now)),
        ("SEVERITY", e => e.Severity == EventSeverity.Warning ? new Cell("WARNING", Tone.Busy) : "INFO"),
        ("OBJECT", e => $"{e.ObjectKind.ToLowerInvariant()}/{e.ObjectName}"),
        ("REASON", e => e.Reason),
        ("COUNT", e => Math.Max(e.Count, 1).ToString(System.Globalization.CultureInfo.InvariantCulture)),
        .. wide ? (ReadOnlySpan<(string, Func<Event, Cell>)>)[("FIRST", e => Readable.Age(e.FirstAt, now)), ("OBJECT-UID", e => e.ObjectUid)] : [],
        ("MESSAGE", e => e.Message),
    ]);

    public static Cell StateOf(Instance instance)
    {
        var status = instance.Status ?? new InstanceStatus();
        var state = Readable.State(status.State);
        var tone = status.State switch
        {
            InstanceState.Running => Tone.Good,
            InstanceState.Failed or InstanceState.Unknown => Tone.Bad,
            InstanceState.Stopped or InstanceState.Paused or InstanceState.Suspended => Tone.Plain,
            _ => Tone.Busy,
        };
        return new(status.Reason.Length > 0 ? $"{state} ({status.Reason})" : state, tone);
    }

    public static Cell NodeStatusOf(Node node)
    {
        var liveness = node.Status?.Liveness ?? default;
        var text = liveness == NodeLiveness.Unspecified ? "UNKNOWN" : liveness.ToString().ToUpperInvariant();
        var scheduling = node.Spec?.Scheduling ?? default;
        if (scheduling is not (NodeScheduling.Unspecified or NodeScheduling.Schedulable))
        {
            text += $",{scheduling.ToString().ToUpperInvariant()}";
        }

        return new(text, liveness switch
        {
            NodeLiveness.Ready => scheduling is NodeScheduling.Unspecified or NodeScheduling.Schedulable ? Tone.Good : Tone.Busy,
            NodeLiveness.Suspect => Tone.Busy,
            _ => Tone.Bad,
        });
    }

    /// <summary>How far the drain of a node is, and what holds it up; empty for one that is not drained.</summary>
    public static string Drain(Node node) => node.Status?.Conditions.FirstOrDefault(condition => condition.Type == "Drained")?.Message ?? "";

    /// <summary>What holds an instance, and what runs its instructions: "qemu/tcg", "containerd".</summary>
    public static string Runs(InstanceStatus? status) => status is { Accelerator.Length: > 0 } ? $"{status.Driver}/{status.Accelerator}" : status?.Driver ?? "";

    public static string Runtime(RuntimeInfo runtime) => $"{Readable.Type(runtime.Type)}:{runtime.Driver}";

    public static string Port(PublishedPort port) =>
        $"{(port.HostIp.Length > 0 ? port.HostIp + ":" : "")}{port.HostPort}:{port.InstancePort}{(port.Protocol == IpProtocol.Udp ? "/udp" : "")}";

    public static string Place(NodeInventory? inventory) => $"{inventory?.Region}/{inventory?.Zone}".Trim('/');

    public static string Labels(ObjectMeta metadata) =>
        string.Join(", ", metadata.Labels.OrderBy(label => label.Key, StringComparer.Ordinal).Select(label => $"{label.Key}={label.Value}"));

    /// <summary>As "node taint" takes them.</summary>
    public static string Taints(NodeSpec? spec) => string.Join(
        ", ", spec?.Taints.Select(taint => $"{taint.Key}{(taint.Value.Length > 0 ? "=" : "")}{taint.Value}:{TaintEffects.WordOf(taint.Effect)}") ?? []);

    /// <summary>"CPUs x4, memory x1.5"; empty when no more than there is may be placed.</summary>
    public static string Overcommitted(Overcommit? overcommit)
    {
        return string.Join(", ", [.. Part("CPUs", overcommit?.Cpu), .. Part("memory", overcommit?.Memory)]);

        static string[] Part(string what, double? factor) =>
            factor > 1 ? [string.Create(System.Globalization.CultureInfo.InvariantCulture, $"{what} x{factor:0.###}")] : [];
    }

    /// <summary>"CPUs 0.5, memory 2GiB": what there is none of is left out.</summary>
    public static string Amounts(Resources? resources)
    {
        return string.Join(
            ", ",
            [
                .. Part("CPUs", resources?.CpuMillicores ?? 0, Readable.Cpus),
                .. Part("memory", resources?.MemoryBytes ?? 0, Readable.Bytes),
                .. Part("disk", resources?.DiskBytes ?? 0, Readable.Bytes),
                .. DeviceNames(resources).Select(name => $"{name} {Count(resources, name)}"),
            ]);

        static string[] Part(string what, long amount, Func<long, string> format) => amount != 0 ? [$"{what} {format(amount)}"] : [];
    }

    /// <summary>"gpu=2, nic=1", as --device takes them.</summary>
    public static string Devices(Resources? resources) => string.Join(", ", DeviceNames(resources).Select(name => $"{name}={Count(resources, name)}"));

    /// <summary>"gpu 1/2, nic 0/1": what is placed and what there is.</summary>
    public static string DeviceShares(Resources? used, Resources? all) => string.Join(
        ", ",
        DeviceNames(used).Union(DeviceNames(all)).Order(StringComparer.Ordinal).Select(name => $"{name} {Count(used, name)}/{Count(all, name)}"));

    private static IEnumerable<string> DeviceNames(Resources? resources) => resources is null ? [] : resources.Devices.Keys.Order(StringComparer.Ordinal);

    private static string Count(Resources? resources, string name) =>
        (resources is not null && resources.Devices.TryGetValue(name, out var count) ? count : 0).ToString(System.Globalization.CultureInfo.InvariantCulture);

    public static string Share(long? used, long? all, Func<long, string> format) => $"{format(used ?? 0)}/{format(all ?? 0)}";

    private static TableLayout<T> Of<T>(List<(string Title, Func<T, Cell> Cell)> columns) => new(
        [.. columns.Select(column => column.Title)],
        item => [.. columns.Select(column => column.Cell(item))]);
}
