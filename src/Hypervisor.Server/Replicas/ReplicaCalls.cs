using Grpc.Core;
using Grpc.Net.Client;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Errors;
using Hypervisor.Server.Api.Instances.Updates;
using Hypervisor.Server.State;

namespace Hypervisor.Server.Replicas;

/// <summary>What one server asks of another. Not encrypted yet, as everything between servers and agents.</summary>
internal sealed class ReplicaCalls(ReplicaDirectory directory, ViewReads reads, TimeProvider time) : IDisposable
{
    private const string Forwarded = "hypervisor-forwarded";
    private const string Details = "grpc-status-details-bin";

    private readonly Lock _gate = new();
    private readonly Dictionary<string, GrpcChannel> _channels = new(StringComparer.Ordinal);

    /// <summary>The call came from another server: it is answered here, or not at all.</summary>
    public static bool IsForwarded(ServerCallContext context) => context.RequestHeaders.GetValue(Forwarded) is not null;

    /// <summary>What only the leader can do: here if this replica leads, and otherwise there, once.</summary>
    /// <param name="here">Fails with <see cref="NotLeadingException"/> before it has changed anything.</param>
    public static async Task<TResponse> HereOrThereAsync<TResponse>(ServerCallContext context, Func<Task<TResponse>> here, Func<Task<TResponse>> there)
    {
        try
        {
            return await here();
        }
        catch (NotLeadingException) when (!IsForwarded(context))
        {
            return await there();
        }
    }

    /// <summary>Has the leader carry out an update; this replica's view includes it then.</summary>
    /// <exception cref="RpcException">What the leader answered; UNAVAILABLE when there is none or it is not reached.</exception>
    public async Task<UpdateInstanceResponse> UpdateAsync(UpdateInstanceRequest request, ServerCallContext context)
    {
        var answer = await AskLeaderAsync(
            context, (channel, headers, deadline) => new ComputeService.ComputeServiceClient(channel).UpdateInstanceAsync(request, headers, deadline, context.CancellationToken));
        if (!request.DryRun)
        {
            await reads.IncludingAsync(new ResourceVersion(answer.Instance.Metadata.ResourceVersion).Revision, context.CancellationToken);
        }

        return answer;
    }

    /// <summary>Has the leader create what is not to wait; this replica's view includes it then.</summary>
    /// <exception cref="RpcException">Likewise.</exception>
    public async Task<Instance> CreateAsync(CreateInstanceRequest request, ServerCallContext context)
    {
        var answer = await AskLeaderAsync(
            context, (channel, headers, deadline) => new ComputeService.ComputeServiceClient(channel).CreateInstanceAsync(request, headers, deadline, context.CancellationToken));
        await IncludingAsync([answer], context.CancellationToken);
        return answer;
    }

    /// <summary>Likewise, several.</summary>
    /// <exception cref="RpcException">Likewise.</exception>
    public async Task<CreateInstancesResponse> CreateAsync(CreateInstancesRequest request, ServerCallContext context)
    {
        var answer = await AskLeaderAsync(
            context, (channel, headers, deadline) => new ComputeService.ComputeServiceClient(channel).CreateInstancesAsync(request, headers, deadline, context.CancellationToken));
        await IncludingAsync(answer.Results.Select(result => result.Instance).OfType<Instance>(), context.CancellationToken);
        return answer;
    }

    /// <summary>Has the leader move instances.</summary>
    /// <exception cref="RpcException">Likewise.</exception>
    public Task<RebalanceResponse> RebalanceAsync(RebalanceRequest request, ServerCallContext context) => AskLeaderAsync(
        context, (channel, headers, deadline) => new ClusterService.ClusterServiceClient(channel).RebalanceAsync(request, headers, deadline, context.CancellationToken));

    /// <summary>Those of a dry run have no version.</summary>
    private async Task IncludingAsync(IEnumerable<Instance> instances, CancellationToken cancellationToken) =>
        await reads.IncludingAsync(instances.Select(instance => new ResourceVersion(instance.Metadata.ResourceVersion).Revision).DefaultIfEmpty().Max(), cancellationToken);

    private async Task<TResponse> AskLeaderAsync<TResponse>(ServerCallContext context, Func<GrpcChannel, Metadata, DateTime, AsyncUnaryCall<TResponse>> call)
    {
        var view = await reads.ViewAsync(Consistency.Linearizable, context.CancellationToken);
        var leader = (await directory.ListAsync(context.CancellationToken)).FirstOrDefault(replica => replica.Name == view.Leader?.Candidate);
        if (leader is null || leader == directory.Self)
        {
            throw ApiErrors.Unavailable(
                "No server leads at the moment, and what instances hold of their nodes is the leader's to change; try again.",
                Limits.Api.RetryUnavailable);
        }

        try
        {
            return await call(Channel(leader.Address), Headers(context), time.GetUtcNow().UtcDateTime + Limits.Replicas.Forwarded);
        }
        catch (RpcException failure) when (failure.Trailers.GetValueBytes(Details) is { } details)
        {
            throw new RpcException(failure.Status, new Metadata { { Details, details } });
        }
        catch (RpcException failure)
        {
            context.CancellationToken.ThrowIfCancellationRequested();
            throw ApiErrors.Unavailable(
                $"The leader '{leader.Name}' was not reached at {leader.Address} ({failure.StatusCode}); ask it directly, or try again.",
                Limits.Api.RetryUnavailable);
        }
    }

    /// <summary>Passes on a blob from the server that holds it.</summary>
    /// <returns>False when no other server has it.</returns>
    /// <exception cref="RpcException">UNAVAILABLE when one that may have it is not reached, or breaks off.</exception>
    public async Task<bool> FetchBlobAsync(FetchBlobRequest request, Func<FetchBlobResponse, Task> send, ServerCallContext context)
    {
        Replica? mute = null;
        foreach (var replica in (await directory.ListAsync(context.CancellationToken)).Where(replica => replica != directory.Self))
        {
            using var call = new AssignmentService.AssignmentServiceClient(Channel(replica.Address)).FetchBlob(
                request, Headers(context), cancellationToken: context.CancellationToken);
            try
            {
                var wait = Limits.Replicas.Answer;
                while (await call.ResponseStream.MoveNext(context.CancellationToken).WaitAsync(wait, time, context.CancellationToken))
                {
                    await send(call.ResponseStream.Current);
                    wait = Limits.Images.UploadSilence;
                }

                return true;
            }
            catch (RpcException failure) when (failure.StatusCode == StatusCode.NotFound)
            {
                // The next one, perhaps.
            }
            catch (RpcException failure) when (failure.Trailers.GetValueBytes(Details) is { } details)
            {
                throw new RpcException(failure.Status, new Metadata { { Details, details } });
            }
            catch (Exception failure) when (failure is TimeoutException or RpcException)
            {
                context.CancellationToken.ThrowIfCancellationRequested();
                mute = replica;
            }
        }

        return mute is null
            ? false
            : throw ApiErrors.Unavailable(
                $"Blob {request.Digest} is not on this server, and '{mute.Name}', which may have it, was not reached at {mute.Address}.",
                Limits.Api.RetryUnavailable);
    }

    /// <summary>What each other server says, with itself as the only replica, and of those that do not, why.</summary>
    public async Task<IReadOnlyList<ClusterInfo>> AskOthersAsync(Consistency consistency, CancellationToken cancellationToken)
    {
        var others = (await directory.ListAsync(cancellationToken)).Where(replica => replica != directory.Self);
        return await Task.WhenAll(others.Select(replica => AskAsync(replica, consistency, cancellationToken)));
    }

    public void Dispose()
    {
        lock (_gate)
        {
            foreach (var channel in _channels.Values)
            {
                channel.Dispose();
            }

            _channels.Clear();
        }
    }

    private async Task<ClusterInfo> AskAsync(Replica replica, Consistency consistency, CancellationToken cancellationToken)
    {
        try
        {
            return await new ClusterService.ClusterServiceClient(Channel(replica.Address)).GetClusterInfoAsync(
                new GetClusterInfoRequest { Consistency = consistency },
                new Metadata { { Forwarded, "1" } },
                time.GetUtcNow().UtcDateTime + Limits.Replicas.Answer,
                cancellationToken);
        }
        catch (RpcException failure)
        {
            cancellationToken.ThrowIfCancellationRequested();
            return new()
            {
                Replicas = { new ServerReplica { Name = replica.Name, GrpcAddress = replica.Address, Message = $"not reached at {replica.Address}: {failure.StatusCode}" } },
            };
        }
    }

    private static Metadata Headers(ServerCallContext context)
    {
        var headers = new Metadata { { Forwarded, "1" } };
        if (context.RequestHeaders.GetValue("authorization") is { } authorization)
        {
            headers.Add("authorization", authorization);
        }

        return headers;
    }

    private GrpcChannel Channel(string address)
    {
        lock (_gate)
        {
            if (!_channels.TryGetValue(address, out var channel))
            {
                _channels.Add(address, channel = GrpcChannel.ForAddress("http://" + address, new GrpcChannelOptions
                {
                    HttpHandler = new SocketsHttpHandler
                    {
                        UseProxy = false,
                        AllowAutoRedirect = false,
                        ConnectTimeout = Limits.Replicas.Answer,
                        PooledConnectionIdleTimeout = Limits.Streams.Idle,
                    },
                    DisposeHttpClient = true,
                }));
            }

            return channel;
        }
    }
}
