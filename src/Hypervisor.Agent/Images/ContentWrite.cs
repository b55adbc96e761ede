using Containerd.Services.Content.V1;
using Google.Protobuf;
using Grpc.Core;
using Hypervisor.Agent.Drivers.Containerd;
using Hypervisor.Agent.Drivers.Containerd.Connection;

namespace Hypervisor.Agent.Images;

/// <summary>
/// One write into containerd's content store, which checks the digest at its end. Disposing ends the call on every way out;
/// containerd then frees the reference for the next writer, and keeps what was written while the lease lives.
/// </summary>
internal sealed class ContentWrite : IAsyncDisposable
{
    private readonly AsyncDuplexStreamingCall<WriteContentRequest, WriteContentResponse> _call;
    private readonly TimeProvider _time;
    private readonly string _reference;
    private readonly string _digest;

    /// <param name="reference">Names the unfinished write: one writer at a time.</param>
    /// <param name="digest">What the content has to have.</param>
    public ContentWrite(ContainerdClient client, TimeProvider time, string reference, string digest, string lease, CancellationToken cancellationToken)
    {
        (_time, _reference, _digest) = (time, reference, digest);
        Ended = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        _call = client.Transfers.Write(client.Call(null, Ended.Token, lease));
    }

    /// <summary>Cancelled with the write; whoever gives up on it cancels it.</summary>
    public CancellationTokenSource Ended { get; }

    /// <summary>How much containerd has.</summary>
    public long Offset { get; private set; }

    /// <summary>Learns what containerd has of an earlier write under the reference.</summary>
    /// <exception cref="RpcException">ALREADY_EXISTS: it is there, and under the lease now.</exception>
    public async Task BeginAsync() =>
        Offset = (await AskAsync(new WriteContentRequest { Action = WriteAction.Stat, Ref = _reference, Expected = _digest })).Offset;

    /// <summary>The bytes may be written over once this returns: containerd has answered by then.</summary>
    public async ValueTask AppendAsync(ReadOnlyMemory<byte> data)
    {
        await AskAsync(new WriteContentRequest
        {
            Action = WriteAction.Write,
            Ref = _reference,
            Offset = Offset,
            Data = UnsafeByteOperations.UnsafeWrap(data),
        });
        Offset += data.Length;
    }

    /// <exception cref="InvalidDataException">The content has another digest.</exception>
    /// <exception cref="RpcException">ALREADY_EXISTS: somebody else was first.</exception>
    public async Task CommitAsync(long total, IReadOnlyDictionary<string, string> labels)
    {
        var commit = new WriteContentRequest { Action = WriteAction.Commit, Ref = _reference, Total = total, Expected = _digest, Offset = Offset };
        foreach (var (key, value) in labels)
        {
            commit.Labels[key] = value;
        }

        try
        {
            await AskAsync(commit);
        }
        catch (RpcException error) when (error.StatusCode == StatusCode.FailedPrecondition)
        {
            throw new InvalidDataException($"the blob {_digest} does not have that digest: {error.Status.Detail}", error);
        }

        await _call.RequestStream.CompleteAsync();
    }

    public async ValueTask DisposeAsync()
    {
        await Ended.CancelAsync();
        _call.Dispose();
        Ended.Dispose();
    }

    private async Task<WriteContentResponse> AskAsync(WriteContentRequest request)
    {
        using var deadline = _time.CreateTimer(
            static state => ((CancellationTokenSource)state!).Cancel(), Ended, ContainerdLimits.Runtime, Timeout.InfiniteTimeSpan);
        try
        {
            await _call.RequestStream.WriteAsync(request, Ended.Token);
        }
        catch (RpcException error) when (error.StatusCode == StatusCode.OK)
        {
            // The server ended the call: reading tells why.
        }
        catch (Exception error) when (error is InvalidOperationException or IOException)
        {
            // Likewise: containerd was killed, for one.
        }

        return await _call.ResponseStream.MoveNext(Ended.Token)
            ? _call.ResponseStream.Current
            : throw new RpcException(new Status(StatusCode.Unavailable, "containerd ended the write"));
    }
}
