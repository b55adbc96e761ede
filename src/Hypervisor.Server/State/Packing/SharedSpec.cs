using Hypervisor.Protocol.V1;

namespace Hypervisor.Server.State.Packing;

/// <summary>What is wanted of instances that are wanted alike.</summary>
internal sealed class SharedSpec : SharedPart
{
    /// <summary>Parsed, a specification takes some 2 KB: kept for so many instances it costs each of them little.</summary>
    private const int UsesWorthKeeping = 64;

    private static readonly SharedParts<SharedSpec> _recent = new(static bytes => new(bytes));

    private InstanceSpec? _kept;

    private SharedSpec(byte[] bytes)
        : base(bytes)
    {
        var spec = Parse();
        (Type, Priority, IsClone) = (spec.Type, spec.Constraints?.Priority ?? 0, spec.Source is not null);
        HasLocalDisk = spec.Disks.Any(disk => disk.Kind == DiskKind.Local);
    }

    public InstanceType Type { get; }

    public int Priority { get; }

    public bool HasLocalDisk { get; }

    public bool IsClone { get; }

    /// <summary>Nobody changes it: others may have the same.</summary>
    public InstanceSpec Spec => _kept ?? (Uses < UsesWorthKeeping ? Parse() : _kept = Parse());

    /// <summary>The caller's own.</summary>
    public InstanceSpec Parse() => InstanceSpec.Parser.ParseFrom(Bytes);

    /// <exception cref="Google.Protobuf.InvalidProtocolBufferException"/>
    public static SharedSpec Of(ReadOnlySpan<byte> bytes) => _recent.Of(bytes);
}
