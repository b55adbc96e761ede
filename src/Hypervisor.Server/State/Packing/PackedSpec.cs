using System.Buffers;
using System.Text;
using Google.Protobuf;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Stores.Records;

namespace Hypervisor.Server.State.Packing;

/// <summary>
/// What is wanted of an instance, as the view keeps it: what is its own as bytes, what others have too as one object for all of them, and what is
/// asked for all the time beside it. Its name is in the list key, its uid with the entry. A graph of objects instead would be some 3 KB for
/// each of hundreds of thousands, which the garbage collector would have to walk.
/// </summary>
internal readonly record struct PackedSpec
{
    // A record without what is in Shared and Spec, and without name and uid; then the trace, if the record has one that can be packed.
    private readonly byte[]? _own;
    private readonly long _createdTicks;
    private readonly bool _hasUid;
    private readonly bool _hasTrace;

    private PackedSpec(byte[] own, string name, (bool Uid, bool Trace) has, SharedMetadata shared, SharedSpec? spec)
    {
        (_own, _hasUid, _hasTrace, Shared, Spec) = (own, has.Uid, has.Trace, shared, spec);
        var metadata = Own(trace: false).Metadata;
        ListKey = InstanceEntry.ListKeyOf(shared.Project, name);
        Deleting = metadata?.DeletedAt is not null;
        _createdTicks = metadata?.CreatedAt?.ToDateTimeOffset().UtcTicks ?? 0;
    }

    /// <summary>False where there is no record.</summary>
    public bool Exists => _own is not null;

    public string ListKey { get; init; }

    public SharedMetadata Shared { get; }

    /// <summary>Null for a record that says nothing of what is wanted.</summary>
    public SharedSpec? Spec { get; }

    public bool Deleting { get; }

    public string Name => ListKey[(Shared.Project.Length + 1)..];

    /// <summary>The beginning of time when it is not recorded.</summary>
    public DateTimeOffset CreatedAt => new(_createdTicks, TimeSpan.Zero);

    /// <param name="id">What the record need not say again.</param>
    /// <exception cref="InvalidProtocolBufferException">It is no such record.</exception>
    /// <exception cref="ArgumentOutOfRangeException">Likewise.</exception>
    public static PackedSpec Of(InstanceId id, ReadOnlySpan<byte> record)
    {
        var rented = ArrayPool<byte>.Shared.Rent((5 * record.Length) + 16);
        try
        {
            return Of(id, record, rented);
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(rented);
        }
    }

    /// <summary>Whose record it is, without reading the rest.</summary>
    /// <exception cref="InvalidProtocolBufferException">It is no such record.</exception>
    /// <exception cref="InvalidOperationException">It does not say.</exception>
    public static string UidOf(ReadOnlySpan<byte> record)
    {
        var fields = new WireFields(record);
        while (fields.MoveNext())
        {
            if (fields is { Number: InstanceSpecRecord.MetadataFieldNumber, IsDelimited: true })
            {
                var metadata = new WireFields(fields.Content);
                while (metadata.MoveNext())
                {
                    if (metadata is { Number: ObjectMeta.UidFieldNumber, IsDelimited: true })
                    {
                        return Encoding.UTF8.GetString(metadata.Content);
                    }
                }
            }
        }

        throw new InvalidOperationException("The record does not say whose it is.");
    }

    /// <summary>The caller's own.</summary>
    public InstanceSpecRecord Unpack(InstanceId id)
    {
        var record = UnpackWithoutSpec(id);
        record.Spec = Spec?.Parse();
        return record;
    }

    /// <summary>Likewise, without its specification, which takes longest.</summary>
    public InstanceSpecRecord UnpackWithoutSpec(InstanceId id)
    {
        var record = Own(trace: true);
        record.Metadata ??= new ObjectMeta();
        record.Metadata.MergeFrom(Shared.Bytes);
        record.Metadata.Name = Name;
        if (_hasUid)
        {
            record.Metadata.Uid = id.Value;
        }

        return record;
    }

    private InstanceSpecRecord Own(bool trace)
    {
        var own = _own.AsSpan();
        var length = _hasTrace ? own.Length - PackedTrace.Size : own.Length;
        var record = InstanceSpecRecord.Parser.ParseFrom(own[..length]);
        if (_hasTrace && trace)
        {
            record.TraceParent = PackedTrace.Unpack(own[length..]);
        }

        return record;
    }

    private static PackedSpec Of(InstanceId id, ReadOnlySpan<byte> record, Span<byte> room)
    {
        var size = record.Length;
        var shared = new WirePiece(room[..size]);
        var metadata = new WirePiece(room.Slice(size, size));
        var spec = new WirePiece(room.Slice(2 * size, size));
        var own = new WirePiece(room[(3 * size)..]);
        var (name, hasUid, hasSpec, hasTrace) = ("", false, false, false);
        Span<byte> trace = stackalloc byte[PackedTrace.Size];
        var fields = new WireFields(record);
        while (fields.MoveNext())
        {
            switch (fields.Number)
            {
                case InstanceSpecRecord.MetadataFieldNumber when fields.IsDelimited:
                    Divide(id, fields.Content, ref shared, ref metadata, ref name, ref hasUid);
                    break;
                case InstanceSpecRecord.SpecFieldNumber when fields.IsDelimited:
                    spec.Add(fields.Content);
                    hasSpec = true;
                    break;
                case InstanceSpecRecord.TraceParentFieldNumber when fields.IsDelimited && PackedTrace.TryPack(fields.Content, trace):
                    hasTrace = true;
                    break;
                default:
                    own.Add(fields.Whole);
                    break;
            }
        }

        if (!metadata.Bytes.IsEmpty)
        {
            own.AddField(InstanceSpecRecord.MetadataFieldNumber, metadata.Bytes);
        }

        if (hasTrace)
        {
            own.Add(trace);
        }

        return new(own.Bytes.ToArray(), name, (hasUid, hasTrace), SharedMetadata.Of(shared.Bytes), hasSpec ? SharedSpec.Of(spec.Bytes) : null);
    }

    private static void Divide(InstanceId id, ReadOnlySpan<byte> metadata, ref WirePiece shared, ref WirePiece own, ref string name, ref bool hasUid)
    {
        var fields = new WireFields(metadata);
        while (fields.MoveNext())
        {
            switch (fields.Number)
            {
                case ObjectMeta.NameFieldNumber when fields.IsDelimited:
                    name = Encoding.UTF8.GetString(fields.Content);
                    break;
                case ObjectMeta.UidFieldNumber when fields.IsDelimited && id.Value is { } uid && Encoding.UTF8.GetString(fields.Content) == uid:
                    hasUid = true;
                    break;
                case ObjectMeta.ProjectFieldNumber or ObjectMeta.LabelsFieldNumber or ObjectMeta.AnnotationsFieldNumber or ObjectMeta.OwnerFieldNumber:
                    shared.Add(fields.Whole);
                    break;
                default:
                    own.Add(fields.Whole);
                    break;
            }
        }
    }
}
