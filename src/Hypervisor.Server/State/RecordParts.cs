using Hypervisor.Server.State.Packing;
using Hypervisor.Server.Stores.Records;

namespace Hypervisor.Server.State;

/// <summary>A record and the revision it was written at; null once its key is deleted.</summary>
internal readonly record struct Part<TRecord>(TRecord? Record, long Revision)
    where TRecord : class;

/// <summary>Likewise for a packed one, which exists or does not.</summary>
internal readonly record struct PackedPart<TPacked>(TPacked Packed, long Revision)
    where TPacked : struct;

/// <summary>The records of one instance while the changes of a revision are collected.</summary>
internal sealed class InstanceParts
{
    public PackedPart<PackedSpec> Spec { get; set; }

    public PackedPart<PackedPlacement> Placement { get; set; }

    public PackedPart<PackedStatus> Status { get; set; }

    public bool IsEmpty => !Spec.Packed.Exists && !Placement.Packed.Exists && !Status.Packed.Exists;

    public static InstanceParts Of(InstanceEntry entry) => new()
    {
        Spec = new(entry.PackedSpec, entry.SpecRevision),
        Placement = new(entry.PackedPlacement, entry.PlacementRevision),
        Status = new(entry.PackedStatus, entry.StatusRevision),
    };

    public InstanceParts Copy() => new() { Spec = Spec, Placement = Placement, Status = Status };
}

/// <summary>The records of one node while the changes of a revision are collected.</summary>
internal sealed class NodeParts
{
    public Part<NodeSpecRecord> Spec { get; set; }

    public Part<NodeRegistrationRecord> Registration { get; set; }

    public Part<NodeHealthRecord> Health { get; set; }

    public Part<NodeDrainRecord> Drain { get; set; }

    public bool IsEmpty => Spec.Record is null && Registration.Record is null && Health.Record is null && Drain.Record is null;

    public static NodeParts Of(NodeEntry entry) => new()
    {
        Spec = new(entry.SpecRecord, entry.SpecRevision),
        Registration = new(entry.RegistrationRecord, entry.RegistrationRevision),
        Health = new(entry.HealthRecord, entry.HealthRevision),
        Drain = new(entry.DrainRecord, entry.DrainRevision),
    };

    public NodeParts Copy() => new() { Spec = Spec, Registration = Registration, Health = Health, Drain = Drain };
}

/// <summary>
/// Records whose spec is missing, so that they are not an object that anyone can see. Writers never leave any; should one
/// appear, it is remembered until its spec comes.
/// </summary>
internal sealed class OrphanedParts
{
    public Dictionary<string, InstanceParts> Instances { get; } = new(StringComparer.Ordinal);

    public Dictionary<string, NodeParts> Nodes { get; } = new(StringComparer.Ordinal);
}
