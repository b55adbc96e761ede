using System.Collections.Concurrent;
using Grpc.Core;
using Hypervisor.Protocol.V1;
using Hypervisor.TestCluster;

namespace Hypervisor.ClusterTests.Proof;

/// <summary>A node that has everything at once: it says of each assignment that it does what is wanted of it, and of each removal that it is done.</summary>
internal sealed class FakeNode : IAsyncDisposable
{
    private const int PerReport = 256;

    private readonly CancellationTokenSource _stop = new();
    private readonly ClusterService.ClusterServiceClient _cluster;
    private readonly AssignmentService.AssignmentServiceClient _assignments;
    private readonly string _uid;
    private readonly Metadata _headers;
    private readonly ConcurrentDictionary<string, long> _held = new();
    private readonly Task _running;

    private readonly Task _stops;

    private FakeNode(Servers servers, int server, RegisterNodeResponse registered, Task stops)
    {
        _stops = stops;
        var channel = servers.Open(server);
        (_cluster, _assignments) = (new(channel), new(channel));
        _uid = registered.Node.Metadata.Uid;
        _headers = new Metadata { { "authorization", $"Bearer {registered.Credential}" } };
        _running = Task.WhenAll(BeatAsync(), FollowAsync());
    }

    /// <summary>Instances that it holds now.</summary>
    public int Held => _held.Count;

    /// <param name="server">The one that it speaks to, which leads. A node of this name that spoke to another before goes on here.</param>
    /// <param name="stops">Before this it stops nothing that is to stop, as one that is slow does; null means at once.</param>
    public static async Task<FakeNode> StartAsync(Servers servers, string name, int instances, Resources each, int server = 0, Task? stops = null)
    {
        var cluster = new ClusterService.ClusterServiceClient(servers.Open(server));
        var registered = await cluster.RegisterNodeAsync(new RegisterNodeRequest
        {
            Name = name,
            RegistrationId = name,
            Inventory = new NodeInventory
            {
                Hostname = name,
                AgentAddress = "127.0.0.1:1",
                Capacity = new Resources
                {
                    CpuMillicores = each.CpuMillicores * instances,
                    MemoryBytes = each.MemoryBytes * instances,
                    DiskBytes = 1L << 50,
                },
                Runtimes =
                {
                    new RuntimeInfo { Type = InstanceType.Container, Driver = "fake", Version = "1", Available = true },
                    new RuntimeInfo { Type = InstanceType.Vm, Driver = "fake", Version = "1", Available = true },
                },
            },
        });
        var node = new FakeNode(servers, server, registered, stops ?? Task.CompletedTask);
        await RealTime.UntilAsync($"{name} is Ready", TimeSpan.FromSeconds(60), async () =>
            (await cluster.GetNodeAsync(new GetNodeRequest { Node = name })).Status.Liveness == NodeLiveness.Ready);
        return node;
    }

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        await _running;
        _stop.Dispose();
    }

    private async Task BeatAsync()
    {
        try
        {
            using var beats = _cluster.Heartbeat(_headers, cancellationToken: _stop.Token);
            for (var sequence = 1L; ; sequence++)
            {
                await beats.RequestStream.WriteAsync(new HeartbeatRequest { NodeUid = _uid, Sequence = sequence }, _stop.Token);
                await beats.ResponseStream.MoveNext(_stop.Token);
                await Task.Delay(TimeSpan.FromMilliseconds(500), RealTime.Clock, _stop.Token);
            }
        }
        catch (Exception exception) when (_stop.IsCancellationRequested && exception is OperationCanceledException or RpcException)
        {
            // That is how it ends.
        }
    }

    private async Task FollowAsync()
    {
        try
        {
            var request = new WatchAssignmentsRequest { NodeUid = _uid };
            using var watch = _assignments.WatchAssignments(request, _headers, cancellationToken: _stop.Token);
            var next = watch.ResponseStream.MoveNext(_stop.Token);
            while (await next)
            {
                // What is there already goes into one report.
                var report = new ReportStatusRequest { NodeUid = _uid };
                do
                {
                    Take(watch.ResponseStream.Current, report);
                    next = watch.ResponseStream.MoveNext(_stop.Token);
                }
                while (next is { IsCompletedSuccessfully: true, Result: true } && report.Reports.Count + report.Removed.Count < PerReport);

                if (report.Removed.Count > 0 || report.Reports.Any(told => told.Status.State != InstanceState.Running))
                {
                    await _stops.WaitAsync(_stop.Token);
                }

                if (report.Reports.Count + report.Removed.Count > 0)
                {
                    await ReportAsync(report);
                }
            }
        }
        catch (Exception exception) when (_stop.IsCancellationRequested && exception is OperationCanceledException or RpcException)
        {
            // That is how it ends.
        }
    }

    /// <summary>As an agent does: a server that cannot reach its store at the moment is told again.</summary>
    private Task ReportAsync(ReportStatusRequest report) => RealTime.UntilAsync("the server takes the report", TimeSpan.FromSeconds(60), async () =>
    {
        try
        {
            await _assignments.ReportStatusAsync(report, _headers, cancellationToken: _stop.Token);
            return true;
        }
        catch (RpcException exception) when (exception.StatusCode == StatusCode.Unavailable)
        {
            return false;
        }
    });

    private void Take(AssignmentEvent told, ReportStatusRequest report)
    {
        switch (told.EventCase)
        {
            case AssignmentEvent.EventOneofCase.Put:
                _held[told.Put.Uid] = told.Put.Epoch;
                report.Reports.Add(new StatusReport
                {
                    Uid = told.Put.Uid,
                    Epoch = told.Put.Epoch,
                    Status = new InstanceStatus
                    {
                        State = told.Put.Spec.DesiredState switch
                        {
                            DesiredState.Stopped => InstanceState.Stopped,
                            DesiredState.Suspended => InstanceState.Suspended,
                            _ => InstanceState.Running,
                        },
                        ObservedGeneration = told.Put.Generation,
                        ObservedParking = told.Put.Parking,
                    },
                });
                break;
            case AssignmentEvent.EventOneofCase.Remove:
                _held.TryRemove(told.Remove.Uid, out _);
                report.Removed.Add(told.Remove);
                break;
        }
    }
}
