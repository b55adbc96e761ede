using System.Buffers;
using System.Security.Cryptography;
using System.Text;
using Google.Protobuf;
using Google.Protobuf.Collections;
using Google.Protobuf.WellKnownTypes;
using Hypervisor.Server.Api.Errors;
using Hypervisor.Server.Stores.Records;

namespace Hypervisor.Server.Api.Instances;

/// <summary>What makes a repeated request one request: its id and the digest of everything else in it.</summary>
internal readonly record struct RequestKey(string Id, ByteString Digest)
{
    /// <param name="request">Without its request_id.</param>
    public static RequestKey Of(string requestId, IMessage request)
    {
        var size = request.CalculateSize();
        var before = Encoding.UTF8.GetByteCount(request.Descriptor.FullName) + 1;
        var rented = ArrayPool<byte>.Shared.Rent(before + size);
        try
        {
            // Equal maps must have equal digests, in whichever order a client sent them.
            using (var output = new CodedOutputStream(rented) { Deterministic = true })
            {
                request.WriteTo(output);
            }

            // Behind its name; such a stream begins nowhere but at the start of an array.
            var text = rented.AsSpan(0, before + size);
            text[..size].CopyTo(text[before..]);
            Encoding.UTF8.GetBytes(request.Descriptor.FullName, text);
            text[before - 1] = 0;
            return new(requestId, UnsafeByteOperations.UnsafeWrap(SHA256.HashData(text)));
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(rented);
        }
    }

    /// <summary>Whether the object has seen this very request.</summary>
    /// <exception cref="Grpc.Core.RpcException">ALREADY_EXISTS when it has seen the id with another request.</exception>
    public bool IsRepeated(RepeatedField<RequestRecord> seen)
    {
        if (Id.Length == 0)
        {
            return false;
        }

        foreach (var record in seen)
        {
            if (record.RequestId == Id)
            {
                return record.Digest == Digest ? true : throw ApiErrors.RequestIdReused(Id);
            }
        }

        return false;
    }

    /// <summary>Remembers the request with the object it changed; the oldest gives way.</summary>
    public void Remember(RepeatedField<RequestRecord> requests, DateTimeOffset now)
    {
        if (Id.Length == 0)
        {
            return;
        }

        while (requests.Count >= Limits.Instance.RememberedRequests)
        {
            requests.RemoveAt(0);
        }

        requests.Add(new RequestRecord { RequestId = Id, Digest = Digest, At = Timestamp.FromDateTimeOffset(now) });
    }
}
