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
    /// <param name="request">A copy that is no longer needed for anything else: its request_id was taken out.</param>
    public static RequestKey Of(string requestId, IMessage request)
    {
        using var buffer = new MemoryStream(request.CalculateSize() + 64);
        buffer.Write(Encoding.UTF8.GetBytes(request.Descriptor.FullName));
        buffer.WriteByte(0);

        // Equal maps must have equal digests, in whichever order a client sent them.
        using (var output = new CodedOutputStream(buffer, leaveOpen: true) { Deterministic = true })
        {
            request.WriteTo(output);
        }

        return new(requestId, ByteString.CopyFrom(SHA256.HashData(buffer.GetBuffer().AsSpan(0, (int)buffer.Length))));
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
