using Grpc.Core;
using Hypervisor.Protocol.V1;
using Hypervisor.Simulation.Checks;
using Hypervisor.Simulation.Cluster;
using Hypervisor.Simulation.Engine;

namespace Hypervisor.Simulation.Scenarios;

/// <summary>Clients that create, stop, start and delete, repeat what was not answered, and watch.</summary>
internal sealed class Users(SimulatedCluster cluster, Ledger ledger, WatchFold watch, Sabotage sabotage)
{
    /// <summary>Where they are, as far as the network is concerned.</summary>
    public const string Host = "users";
    private static readonly TimeSpan CallDeadline = TimeSpan.FromSeconds(3);
    private static readonly TimeSpan GiveUp = TimeSpan.FromMinutes(3);

    private readonly SimulatedProcess _process = cluster.Loop.Outside;

    private SeededRandom Random => cluster.Loop.Random;

    /// <summary>One user's day: some instances, each with a life of its own; some are left to stay.</summary>
    public async Task WorkAsync(string user, int instances)
    {
        for (var index = 0; index < instances; index++)
        {
            var name = $"{user}-{index}";
            await CreateAsync(name);
            await PauseAsync();
            if (Random.Chance(0.5))
            {
                ledger.StopAsked(name);
                await MutateAsync("stop", name, (server, token) => server.Instances.Power.StopAsync(
                    new StopInstanceRequest { Instance = name, RequestId = Id($"{name}-stop") }, token));
                await PauseAsync();
                if (Random.Chance(0.5))
                {
                    await MutateAsync("start", name, (server, token) => server.Instances.Power.StartAsync(
                        new StartInstanceRequest { Instance = name, RequestId = Id($"{name}-start") }, token));
                    await PauseAsync();
                }
            }

            if (Random.Chance(0.2))
            {
                ledger.StopAsked(name);
                await MutateAsync("restart", name, (server, token) => server.Instances.Power.RestartAsync(
                    new RestartInstanceRequest { Instance = name, RequestId = Id($"{name}-restart") }, token));
                await PauseAsync();
            }

            if (Random.Chance(0.6))
            {
                ledger.DeleteAsked(name);
                await MutateAsync("delete", name, (server, token) => server.Instances.Deletion.DeleteAsync(
                    new DeleteInstanceRequest { Instance = name, RequestId = Id($"{name}-delete") }, token));
            }
        }
    }

    /// <summary>Watches all instances for ever, resuming where it was.</summary>
    public async Task WatchAsync(CancellationToken cancellationToken)
    {
        while (!cancellationToken.IsCancellationRequested)
        {
            try
            {
                watch.Begin();
                await foreach (var change in cluster.Network.StreamAsync(
                    _process, Host, () => cluster.Server,
                    (server, token) => server.Instances.Watches.InstancesAsync(new WatchInstancesRequest { ResourceVersion = watch.Position }, token),
                    cancellationToken))
                {
                    if (sabotage.DeliverWatchEvent(change))
                    {
                        watch.Take(change);
                    }
                }
            }
            catch (RpcException)
            {
            }
            catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
            {
                return;
            }

            await Task.Delay(TimeSpan.FromMilliseconds(100), _process.Clock, CancellationToken.None);
        }
    }

    public Task<ListInstancesResponse> ListAsync() => RepeatAsync((server, token) =>
        server.Instances.Queries.ListAsync(new ListInstancesRequest { PageSize = 1000 }, token));

    /// <summary>Vouches that a machine is off; one that is not known is given up already.</summary>
    public async Task GiveUpNodeAsync(string node)
    {
        try
        {
            await RepeatAsync<object>(async (server, token) =>
            {
                await server.Nodes.DeregisterAsync(node, fenced: true, token);
                return node;
            });
        }
        catch (RpcException refusal) when (refusal.StatusCode == StatusCode.NotFound)
        {
        }
    }

    private async Task CreateAsync(string name)
    {
        var requestId = $"{name}-create";
        var request = new CreateInstanceRequest
        {
            Name = name,
            RequestId = Id(requestId),
            Spec = new InstanceSpec
            {
                Type = InstanceType.Container,
                Image = "any",
                Resources = new Resources { CpuMillicores = 100, MemoryBytes = 64 << 20 },
            },
        };
        try
        {
            var instance = await RepeatAsync((server, token) => server.Instances.Creation.CreateAsync(request.Clone(), token));
            ledger.Created(requestId, instance);
            await sabotage.AfterCreate(cluster, instance.Metadata);
        }
        catch (RpcException exception) when (exception.StatusCode == StatusCode.AlreadyExists)
        {
            ledger.Refused(requestId, exception.Status.ToString());
        }
    }

    private async Task MutateAsync<T>(string what, string name, Func<SimulatedServer, CancellationToken, Task<T>> call)
        where T : class
    {
        try
        {
            await RepeatAsync(call);
        }
        catch (RpcException refusal)
        {
            ledger.Refused(what, name, refusal.Status);
        }
    }

    private string Id(string requestId) => sabotage.RequestId(requestId);

    private Task PauseAsync() => Task.Delay(Random.Between(TimeSpan.Zero, TimeSpan.FromSeconds(3)), _process.Clock);

    /// <summary>The same request until it is answered; a NOT_FOUND, and every other refusal, is an answer.</summary>
    private async Task<T> RepeatAsync<T>(Func<SimulatedServer, CancellationToken, Task<T>> call)
        where T : class
    {
        var started = _process.Clock.GetTimestamp();
        while (true)
        {
            try
            {
                return await cluster.Network.CallAsync(_process, Host, () => cluster.Server, call, CallDeadline, CancellationToken.None);
            }
            catch (Exception exception) when (exception is OperationCanceledException
                or RpcException { StatusCode: StatusCode.Unavailable or StatusCode.DeadlineExceeded or StatusCode.Cancelled or StatusCode.ResourceExhausted })
            {
                if (_process.Clock.GetElapsedTime(started) > GiveUp)
                {
                    throw new SimulationException(cluster.Loop, $"a call was not answered within {GiveUp}: {exception.Message}");
                }
            }

            await Task.Delay(Random.Between(TimeSpan.FromMilliseconds(50), TimeSpan.FromMilliseconds(500)), _process.Clock);
        }
    }
}
