using System.Buffers;
using Grpc.Core;

namespace Hypervisor.Server.Api.Encoded;

/// <summary>A <see cref="Protocol.V1.WatchInstancesResponse"/> in protobuf's wire format, which many streams may send.</summary>
internal sealed record EncodedEvent(ReadOnlyMemory<byte> Bytes)
{
    public void Write(SerializationContext context)
    {
        context.SetPayloadLength(Bytes.Length);
        context.GetBufferWriter().Write(Bytes.Span);
        context.Complete();
    }
}
