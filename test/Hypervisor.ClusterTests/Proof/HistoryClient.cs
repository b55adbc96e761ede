using System.Net.Sockets;
using Grpc.Core;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.TestCluster;
using Hypervisor.TestCluster.Histories;

namespace Hypervisor.ClusterTests.Proof;

/// <summary>
/// Calls one server after the other on a few names and notes what it asked and what it was told. What it writes is a label that
/// nobody else ever writes.
/// </summary>
internal sealed class HistoryClient(
    int number,
    IReadOnlyList<ComputeService.ComputeServiceClient> servers,
    IReadOnlyList<string> names,
    HistoryClient.Moments moments,
    int seed)
{
    public const string Label = "value";

    private readonly Random _random = new((seed * 1000) + number);
    private readonly Dictionary<string, (string Value, long Version)> _seen = new(StringComparer.Ordinal);
    private int _writes;

    public List<(string Name, Operation Operation)> Operations { get; } = [];

    public List<(RevisionSeen Seen, Dictionary<string, ObjectState> Objects)> Lists { get; } = [];

    public async Task RunAsync(CancellationToken stop)
    {
        while (!stop.IsCancellationRequested)
        {
            var server = _random.Next(servers.Count);
            if (_random.Next(12) == 0)
            {
                await ListAsync(server);
                continue;
            }

            if (!await CallAsync(server, names[_random.Next(names.Count)], _random.Next(10)))
            {
                await Task.Delay(TimeSpan.FromMilliseconds(20), RealTime.Clock, CancellationToken.None);
            }
        }
    }

    /// <summary>All names once, through one server.</summary>
    public async Task ReadAllAsync(int server)
    {
        foreach (var name in names)
        {
            await CallAsync(server, name, 9);
        }

        await ListAsync(server);
    }

    private async Task<bool> CallAsync(int server, string name, int what)
    {
        var (kind, conditional) = what switch
        {
            0 or 1 => (OperationKind.Create, false),
            2 or 3 => (OperationKind.Update, false),
            4 or 5 => (OperationKind.Update, true),
            6 => (OperationKind.Delete, _random.Next(2) == 0),
            _ => (OperationKind.Get, false),
        };
        var expected = conditional ? _seen.GetValueOrDefault(name, ("", 0)) : ("", 0L);
        var value = kind is OperationKind.Create or OperationKind.Update ? $"c{number}-{++_writes}" : "";
        var operation = new Operation(kind, moments.Next(), 0, Outcome.Unknown)
        {
            Value = value,
            ExpectedValue = expected.Item1,
            ExpectedVersion = expected.Item2,
        };
        try
        {
            var answer = await SendAsync(servers[server], name, operation);
            var returned = moments.Next();
            var version = answer.Metadata.ResourceVersion;
            var shown = answer.Metadata.Labels.GetValueOrDefault(Label, "");
            var read = new Operation(OperationKind.Get, operation.Invoked, returned, Outcome.Done) { Value = shown, Version = version };
            if (kind == OperationKind.Delete)
            {
                Operations.Add((name, operation with { Returned = returned, Outcome = Outcome.Done, Version = version }));
                _seen.Remove(name);
                return true;
            }

            if (kind != OperationKind.Get)
            {
                Operations.Add((name, operation with { Returned = returned, Outcome = Outcome.Done }));
            }

            // The answer to a write is how the object is then, which may include what others wrote right after: a read of its own.
            Operations.Add((name, read));
            _seen[name] = (shown, version);
            return true;
        }
        catch (RpcException exception)
        {
            var outcome = exception.StatusCode switch
            {
                StatusCode.NotFound => Outcome.Absent,
                StatusCode.AlreadyExists => Outcome.Present,
                StatusCode.Aborted when expected.Item2 != 0 => Outcome.Conflict,
                StatusCode.Unavailable or StatusCode.DeadlineExceeded or StatusCode.Cancelled => Outcome.Unknown,
                StatusCode.Unknown or StatusCode.Internal => Outcome.Unknown,

                // It lost all its attempts, or the queue was full: nothing happened.
                StatusCode.Aborted or StatusCode.ResourceExhausted => (Outcome?)null,
                _ => throw new InvalidOperationException($"{operation} of {name}: {exception.Status}", exception),
            };
            if (outcome is { } known && !NeverSent(exception))
            {
                Operations.Add((name, operation with { Returned = moments.Next(), Outcome = known }));
            }

            return outcome is Outcome.Absent or Outcome.Present or Outcome.Conflict;
        }
    }

    /// <summary>There was no connection to send it on.</summary>
    private static bool NeverSent(RpcException exception) =>
        exception.Status.DebugException is SocketException or HttpRequestException { HttpRequestError: HttpRequestError.ConnectionError };

    private static async Task<Instance> SendAsync(ComputeService.ComputeServiceClient server, string name, Operation operation)
    {
        var deadline = LocalCluster.Deadline(5);
        switch (operation.Kind)
        {
            case OperationKind.Create:
                var create = new CreateInstanceRequest
                {
                    Name = name,
                    Labels = { [Label] = operation.Value },
                    Spec = new InstanceSpec { Type = InstanceType.Container, Image = "busybox" },
                };
                return await server.CreateInstanceAsync(create, deadline: deadline);
            case OperationKind.Update:
                var update = new UpdateInstanceRequest
                {
                    Instance = new Instance
                    {
                        Metadata = new ObjectMeta
                        {
                            Name = name,
                            Labels = { [Label] = operation.Value },
                            ResourceVersion = operation.ExpectedVersion,
                        },
                    },
                    UpdateMask = new() { Paths = { "metadata.labels" } },
                };
                return (await server.UpdateInstanceAsync(update, deadline: deadline)).Instance;
            case OperationKind.Delete:
                var delete = new DeleteInstanceRequest { Instance = name, ResourceVersion = operation.ExpectedVersion };
                return await server.DeleteInstanceAsync(delete, deadline: deadline);
            default:
                return await server.GetInstanceAsync(new GetInstanceRequest { Instance = name }, deadline: deadline);
        }
    }

    private async Task ListAsync(int server)
    {
        var invoked = moments.Next();
        try
        {
            var answer = await servers[server].ListInstancesAsync(new ListInstancesRequest(), deadline: LocalCluster.Deadline(5));
            var revision = new ResourceVersion(answer.List.ResourceVersion).Revision;
            Lists.Add((
                new($"client {number} by server {server + 1}", invoked, moments.Next(), revision),
                answer.Instances.ToDictionary(instance => instance.Metadata.Uid, StateOf, StringComparer.Ordinal)));
        }
        catch (RpcException)
        {
            // Nothing was read.
        }
    }

    public static ObjectState StateOf(Instance instance) => new(
        instance.Metadata.Labels.GetValueOrDefault(Label, ""), new ResourceVersion(instance.Metadata.ResourceVersion).Revision);

    /// <summary>A clock that all clients share and that never shows the same twice.</summary>
    internal sealed class Moments
    {
        private long _last;

        public long Next() => Interlocked.Increment(ref _last);
    }
}
