using Google.Protobuf;
using Grpc.Core;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Server.Api.Encoded;

/// <summary>A <see cref="ListInstancesResponse"/> whose instances are in protobuf's wire format already.</summary>
internal sealed record EncodedInstances(List<byte[]> Instances, ListMeta List)
{
    private static readonly uint _instance =
        WireFormat.MakeTag(ListInstancesResponse.InstancesFieldNumber, WireFormat.WireType.LengthDelimited);

    private static readonly uint _list = WireFormat.MakeTag(ListInstancesResponse.ListFieldNumber, WireFormat.WireType.LengthDelimited);

    public void Write(SerializationContext context)
    {
        var list = List.ToByteArray();
        var size = WireBytes.SizeOf(_list, list.Length);
        foreach (var instance in Instances)
        {
            size += WireBytes.SizeOf(_instance, instance.Length);
        }

        context.SetPayloadLength(size);
        var writer = context.GetBufferWriter();
        foreach (var instance in Instances)
        {
            // One piece of the buffer for each: asking for it costs more than filling it.
            var piece = writer.GetSpan(WireBytes.SizeOf(_instance, instance.Length));
            writer.Advance(WireBytes.Write(piece, _instance, instance));
        }

        writer.Advance(WireBytes.Write(writer.GetSpan(WireBytes.SizeOf(_list, list.Length)), _list, list));
        context.Complete();
    }
}
