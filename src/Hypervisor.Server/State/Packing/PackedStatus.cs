using Google.Protobuf;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Stores.Records;

namespace Hypervisor.Server.State.Packing;

/// <summary>What was observed of an instance, as the view keeps it.</summary>
internal readonly record struct PackedStatus
{
    private readonly byte[]? _bytes;
    private readonly bool _hasStatus;

    private PackedStatus(byte[] bytes)
    {
        _bytes = bytes;
        if (StatusRecord.Parser.ParseFrom(bytes).Status is { } status)
        {
            (_hasStatus, ObservedEpoch, State) = (true, status.ObservedEpoch, status.State);
            IsUnready = MemberState.ConditionOf(status) is { Status: not ConditionStatus.True };
        }
    }

    /// <summary>False where there is no record.</summary>
    public bool Exists => _bytes is not null;

    public long ObservedEpoch { get; }

    public InstanceState State { get; }

    /// <summary>It says that it is not ready; what does not say is.</summary>
    public bool IsUnready { get; }

    /// <summary>Whether it says anything of a placement under this epoch.</summary>
    public bool IsOf(long epoch) => _hasStatus && ObservedEpoch == epoch;

    /// <exception cref="InvalidProtocolBufferException">It is no such record.</exception>
    public static PackedStatus Of(ReadOnlySpan<byte> record) => new(record.ToArray());

    /// <summary>The caller's own; null where there is none.</summary>
    public StatusRecord? Unpack() => _bytes is null ? null : StatusRecord.Parser.ParseFrom(_bytes);
}
