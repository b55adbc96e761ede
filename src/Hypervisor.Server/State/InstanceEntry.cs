using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Stores.Records;

namespace Hypervisor.Server.State;

/// <summary>
/// One instance as of one revision: its three records with the revision each was last written at, and what its rendering
/// needs to know of its node. Immutable: nobody changes the records; to write, clone them.
/// </summary>
internal sealed class InstanceEntry
{
    private byte[]? _encodedSummary;

    public required InstanceId Id { get; init; }

    public required InstanceSpecRecord SpecRecord { get; init; }

    /// <summary>Modification revision of the spec key: what a writer of the spec compares.</summary>
    public required long SpecRevision { get; init; }

    /// <summary>Null until the scheduler first looked at it.</summary>
    public PlacementRecord? PlacementRecord { get; init; }

    /// <summary>0 while there is no placement record.</summary>
    public long PlacementRevision { get; init; }

    /// <summary>Null until an agent reported.</summary>
    public StatusRecord? StatusRecord { get; init; }

    public long StatusRevision { get; init; }

    /// <summary>The node of the placement; null while not placed.</summary>
    public PlacedNode? Node { get; init; }

    /// <summary>Of the last change of anything that is shown of this instance, its node's liveness included.</summary>
    public required ResourceVersion ResourceVersion { get; init; }

    public ObjectMeta Metadata => SpecRecord.Metadata;

    public InstanceSpec Spec => SpecRecord.Spec;

    public string Project => Metadata.Project;

    public string Name => Metadata.Name;

    public bool Deleting => Metadata.DeletedAt is not null;

    /// <summary>The node it is placed on, or null.</summary>
    public NodeId? NodeId => PlacementRecord?.Placement is { NodeUid.Length: > 0 } placement ? new(placement.NodeUid) : null;

    /// <summary>The last epoch it was given; <see cref="Epoch.None"/> while never placed.</summary>
    public Epoch Epoch => new(PlacementRecord?.Placement?.Epoch ?? 0);

    /// <summary>Why it has to leave the node it is on, or null.</summary>
    public Eviction? Eviction => NodeId is null ? null : PlacementRecord!.Placement.Eviction;

    /// <summary>Nothing of it may be left on its node: it is being deleted, or was evicted and has stopped.</summary>
    public bool Leaves =>
        Deleting || (Eviction is { InPlace: false } && CurrentStatus?.State is InstanceState.Stopped or InstanceState.Failed or InstanceState.Deleting);

    /// <summary>What the agent reported under the present epoch, or null: an older report says nothing about this placement.</summary>
    public InstanceStatus? CurrentStatus =>
        StatusRecord?.Status is { } status && NodeId is not null && status.ObservedEpoch == Epoch.Value ? status : null;

    /// <summary>
    /// What <see cref="InstanceView.RenderSummary"/> shows, in protobuf's wire format: made for the first list that has it (two at once
    /// make the same), some 200 bytes that stay as long as the entry, so that a list of thousands is a copy. Nobody writes to it.
    /// </summary>
    public byte[] EncodeSummary() => _encodedSummary ??= InstanceView.RenderSummary(this).ToByteArray();

    /// <summary>Position in lists: by project, then name.</summary>
    public string ListKey => ListKeyOf(Project, Name);

    public static string ListKeyOf(string project, string name) => $"{project}/{name}";
}

/// <summary>What the rendering of an instance needs to know of the node it is placed on.</summary>
/// <param name="Exists">False when the node was deregistered.</param>
/// <param name="Since">Of the liveness.</param>
/// <param name="HealthRevision">Revision of the last transition of its liveness.</param>
internal sealed record PlacedNode(string Uid, string Name, bool Exists, NodeLiveness Liveness, Timestamp? Since, long HealthRevision);
