using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.State.Packing;
using Hypervisor.Server.Stores;
using Hypervisor.Server.Stores.Records;

namespace Hypervisor.Server.State;

/// <summary>
/// One instance as of one revision: its three records with the revision each was last written at, and what its rendering
/// needs to know of its node. Immutable: nobody changes the records; to write, clone them.
/// </summary>
/// <remarks>
/// The records are kept packed and parsed anew by whoever asks for one (or for a part: the metadata, an eviction, what was observed): ask once.
/// What loops over many instances need is beside them.
/// </remarks>
internal sealed class InstanceEntry
{
    private byte[]? _encodedSummary;

    public required InstanceId Id { get; init; }

    public PackedSpec PackedSpec { get; init; }

    public PackedPlacement PackedPlacement { get; init; }

    public PackedStatus PackedStatus { get; init; }

    /// <summary>Parsed anew.</summary>
    public InstanceSpecRecord SpecRecord
    {
        get => PackedSpec.Unpack(Id);
        init => PackedSpec = PackedSpec.Of(Id, value.ToByteArray());
    }

    public string SpecKey => Keys.Specs + ListKey;

    /// <summary>Modification revision of <see cref="SpecKey"/>: what a writer of the spec compares.</summary>
    public required long SpecRevision { get; init; }

    /// <summary>Parsed anew. Null until the scheduler first looked at it.</summary>
    public PlacementRecord? PlacementRecord
    {
        get => PackedPlacement.Unpack();
        init => PackedPlacement = value is null ? default : PackedPlacement.Of(value.ToByteArray());
    }

    /// <summary>0 while there is no placement record.</summary>
    public long PlacementRevision { get; init; }

    /// <summary>Parsed anew. Null until an agent reported.</summary>
    public StatusRecord? StatusRecord
    {
        get => PackedStatus.Unpack();
        init => PackedStatus = value is null ? default : PackedStatus.Of(value.ToByteArray());
    }

    public long StatusRevision { get; init; }

    /// <summary>The node of the placement; null while not placed.</summary>
    public PlacedNode? Node { get; init; }

    /// <summary>Of the last change of anything that is shown of this instance, its node's liveness included.</summary>
    public required ResourceVersion ResourceVersion { get; init; }

    /// <summary>Parsed anew.</summary>
    public ObjectMeta Metadata => PackedSpec.UnpackWithoutSpec(Id).Metadata;

    /// <summary>Parsed anew, unless many instances have the same.</summary>
    public InstanceSpec Spec => (PackedSpec.Spec?.Spec)!;

    public string Project => PackedSpec.Shared.Project;

    public string Name => PackedSpec.Name;

    public IReadOnlyDictionary<string, string> Labels => PackedSpec.Shared.Labels;

    /// <summary>The uid of the group that it belongs to; null for what belongs to none.</summary>
    public string? GroupUid => PackedSpec.Shared.GroupUid;

    /// <summary>Of its owner's template that it was made from; 0 for what has no owner.</summary>
    public long OwnerRevision => PackedSpec.Shared.OwnerRevision;

    public DateTimeOffset CreatedAt => PackedSpec.CreatedAt;

    public bool Deleting => PackedSpec.Deleting;

    public InstanceType Type => PackedSpec.Spec?.Type ?? InstanceType.Unspecified;

    public int Priority => PackedSpec.Spec?.Priority ?? 0;

    public bool HasLocalDisk => PackedSpec.Spec?.HasLocalDisk ?? false;

    public bool IsClone => PackedSpec.Spec?.IsClone ?? false;

    /// <summary>The node it is placed on, or null.</summary>
    public NodeId? NodeId => PackedPlacement.NodeUid is { } uid ? new(uid) : null;

    /// <summary>The last epoch it was given; <see cref="Epoch.None"/> while never placed.</summary>
    public Epoch Epoch => new(PackedPlacement.Epoch);

    public bool IsEvicted => PackedPlacement.IsEvicted;

    /// <summary>Parsed anew. Why it has to leave the node it is on, or null.</summary>
    public Eviction? Eviction => IsEvicted ? PlacementRecord!.Placement.Eviction : null;

    /// <summary>Nothing of it may be left on its node: it is being deleted, or was evicted and has stopped.</summary>
    public bool Leaves =>
        Deleting || (IsEvicted && ReportedState is InstanceState.Stopped or InstanceState.Failed or InstanceState.Deleting && Eviction is { InPlace: false });

    /// <summary>
    /// Parsed anew. What the agent reported under the present epoch, or null: an older report says nothing about this placement.
    /// </summary>
    public InstanceStatus? CurrentStatus => IsReported ? StatusRecord!.Status : null;

    /// <summary>Of <see cref="CurrentStatus"/>.</summary>
    public InstanceState? ReportedState => IsReported ? PackedStatus.State : null;

    /// <summary>Likewise.</summary>
    public bool IsReportedUnready => IsReported && PackedStatus.IsUnready;

    /// <summary>
    /// What <see cref="InstanceView.RenderSummary"/> shows, in protobuf's wire format: made for the first list that has it (two at once
    /// make the same), some 200 bytes that stay as long as the entry, so that a list of thousands is a copy. Nobody writes to it.
    /// </summary>
    public byte[] EncodeSummary() => _encodedSummary ??= InstanceView.RenderSummary(this).ToByteArray();

    /// <summary>Position in lists: by project, then name.</summary>
    public string ListKey => PackedSpec.ListKey;

    public static string ListKeyOf(string project, string name) => $"{project}/{name}";

    private bool IsReported => PackedPlacement.NodeUid is not null && PackedStatus.IsOf(PackedPlacement.Epoch);
}

/// <summary>What the rendering of an instance needs to know of the node it is placed on.</summary>
/// <param name="Exists">False when the node was deregistered.</param>
/// <param name="Since">Of the liveness.</param>
/// <param name="HealthRevision">Revision of the last transition of its liveness.</param>
internal sealed record PlacedNode(string Uid, string Name, bool Exists, NodeLiveness Liveness, Timestamp? Since, long HealthRevision);
