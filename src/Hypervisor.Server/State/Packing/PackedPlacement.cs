using System.Buffers;
using Google.Protobuf;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Stores.Records;

namespace Hypervisor.Server.State.Packing;

/// <summary>Where an instance is, as the view keeps it. The node's uid is an object that all instances of the node have.</summary>
internal readonly record struct PackedPlacement
{
    // A record without the node's uid.
    private readonly byte[]? _own;

    private PackedPlacement(byte[] own, Placement? placement)
    {
        (_own, NodeUid, Epoch) = (own, placement is { NodeUid.Length: > 0 } ? placement.NodeUid : null, placement?.Epoch ?? 0);
        IsEvicted = NodeUid is not null && placement!.Eviction is not null;
    }

    /// <summary>False where there is no record.</summary>
    public bool Exists => _own is not null;

    /// <summary>Null while it has no node.</summary>
    public string? NodeUid { get; init; }

    public long Epoch { get; }

    /// <summary>It has to leave its node.</summary>
    public bool IsEvicted { get; }

    /// <exception cref="InvalidProtocolBufferException">It is no such record.</exception>
    public static PackedPlacement Of(ReadOnlySpan<byte> record)
    {
        var placement = PlacementRecord.Parser.ParseFrom(record).Placement;
        var rented = ArrayPool<byte>.Shared.Rent((2 * record.Length) + 16);
        try
        {
            return new(WithoutNodeUid(record, rented), placement);
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(rented);
        }
    }

    /// <summary>The caller's own; null where there is none.</summary>
    public PlacementRecord? Unpack()
    {
        if (_own is null)
        {
            return null;
        }

        var record = PlacementRecord.Parser.ParseFrom(_own);
        if (NodeUid is not null)
        {
            record.Placement.NodeUid = NodeUid;
        }

        return record;
    }

    private static byte[] WithoutNodeUid(ReadOnlySpan<byte> record, Span<byte> room)
    {
        var placement = new WirePiece(room[..record.Length]);
        var own = new WirePiece(room[record.Length..]);
        var hasPlacement = false;
        var fields = new WireFields(record);
        while (fields.MoveNext())
        {
            if (fields is not { Number: PlacementRecord.PlacementFieldNumber, IsDelimited: true })
            {
                own.Add(fields.Whole);
                continue;
            }

            hasPlacement = true;
            var parts = new WireFields(fields.Content);
            while (parts.MoveNext())
            {
                if (parts is not { Number: Placement.NodeUidFieldNumber, IsDelimited: true })
                {
                    placement.Add(parts.Whole);
                }
            }
        }

        if (hasPlacement)
        {
            own.AddField(PlacementRecord.PlacementFieldNumber, placement.Bytes);
        }

        return own.Bytes.ToArray();
    }
}
