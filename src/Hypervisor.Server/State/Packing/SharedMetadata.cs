using Hypervisor.Protocol.V1;

namespace Hypervisor.Server.State.Packing;

/// <summary>What the metadata of instances that were made alike have in common: project, labels, annotations and owner.</summary>
internal sealed class SharedMetadata : SharedPart
{
    private static readonly SharedParts<SharedMetadata> _recent = new(static bytes => new(bytes));

    private SharedMetadata(byte[] bytes)
        : base(bytes)
    {
        var metadata = ObjectMeta.Parser.ParseFrom(bytes);
        Project = metadata.Project;
        GroupUid = metadata.Owner is { Kind: GroupEntry.Kind } owner ? owner.Uid : null;
        OwnerRevision = metadata.Owner?.Revision ?? 0;
        if (metadata.Labels.Count > 0)
        {
            Labels = new SortedList<string, string>(metadata.Labels, StringComparer.Ordinal);
        }
    }

    public string Project { get; }

    /// <summary>By key.</summary>
    public IReadOnlyDictionary<string, string> Labels { get; } = NodeEntry.NoLabels;

    /// <summary>Null for what belongs to no group.</summary>
    public string? GroupUid { get; }

    /// <summary>Of the owner's template; 0 for what has no owner.</summary>
    public long OwnerRevision { get; }

    /// <exception cref="Google.Protobuf.InvalidProtocolBufferException"/>
    public static SharedMetadata Of(ReadOnlySpan<byte> bytes) => _recent.Of(bytes);
}
