using System.Runtime.CompilerServices;
using System.Threading.Channels;
using Google.Protobuf.WellKnownTypes;
using Grpc.Core;
using Hypervisor.Agent.ControlPlane;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Tests.Agent;

/// <summary>
/// A control plane that says what the test lets it say, and keeps what it was told. To the agent each instance has a uid,
/// to the test the short name that <see cref="AgentWorld.Id"/> makes it of.
/// </summary>
internal sealed class ScriptedControlPlane(TimeProvider time) : IControlPlane
{
    private readonly List<Channel<AssignmentEvent>> _streams = [];

    /// <summary>Every call fails and every stream breaks.</summary>
    public bool Away { get; private set; }

    public List<RegisterNodeRequest> Registrations { get; } = [];

    public List<ReportStatusRequest> Reports { get; } = [];

    public SortedDictionary<string, StatusReport> Statuses { get; } = new(StringComparer.Ordinal);

    /// <summary>Acknowledged removals as "uid@epoch", in order.</summary>
    public List<string> Removed { get; } = [];

    public IReadOnlyList<UnclaimedInstance>? Unclaimed { get; private set; }

    /// <summary>Told with <see cref="Unclaimed"/>.</summary>
    public IReadOnlyList<InstanceType>? UnansweredTypes { get; private set; }

    public int Beats { get; private set; }

    /// <summary>What becomes of a report; accepted unless the test says otherwise.</summary>
    public Func<StatusReport, ReportResult> Judge { get; set; } = _ => ReportResult.Accepted;

    /// <summary>Whether a batch with this report in it is refused as a whole.</summary>
    public Func<StatusReport, bool> IsInvalid { get; set; } = _ => false;

    public TimeSpan ReportLatency { get; set; }

    public bool AnswersBeats { get; set; } = true;

    public int Streams => _streams.Count;

    public void Send(AssignmentEvent @event)
    {
        var translated = @event.Clone();
        if (translated.Put is { } put)
        {
            put.Uid = AgentWorld.Id(put.Uid).Value;
        }

        if (translated.Remove is { } remove)
        {
            remove.Uid = AgentWorld.Id(remove.Uid).Value;
        }

        SendAsItIs(translated);
    }

    public void SendAsItIs(AssignmentEvent @event) => _streams[^1].Writer.TryWrite(@event);

    public void Disconnect()
    {
        foreach (var stream in _streams)
        {
            stream.Writer.TryComplete(Unavailable());
        }
    }

    public void GoAway()
    {
        Away = true;
        Disconnect();
    }

    public void ComeBack() => Away = false;

    public Task<RegisterNodeResponse> RegisterNodeAsync(RegisterNodeRequest request, CancellationToken cancellationToken)
    {
        Registrations.Add(request.Clone());
        return Away ? throw Unavailable() : Task.FromResult(new RegisterNodeResponse
        {
            Node = new Hypervisor.Protocol.V1.Node { Metadata = new ObjectMeta { Uid = "node-uid", Name = request.Name }, Status = new NodeStatus { Subnet = "10.64.0.0/20" } },
            Credential = "secret",
            LeaseDuration = Duration.FromTimeSpan(TimeSpan.FromSeconds(5)),
            HeartbeatInterval = Duration.FromTimeSpan(TimeSpan.FromSeconds(1)),
        });
    }

    public async IAsyncEnumerable<HeartbeatResponse> HeartbeatAsync(
        IAsyncEnumerable<HeartbeatRequest> beats, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        await foreach (var beat in beats.WithCancellation(cancellationToken))
        {
            if (Away)
            {
                throw Unavailable();
            }

            Beats++;
            if (AnswersBeats)
            {
                yield return new HeartbeatResponse { Sequence = beat.Sequence, LeaseDuration = Duration.FromTimeSpan(TimeSpan.FromSeconds(5)) };
            }
        }
    }

    public async IAsyncEnumerable<AssignmentEvent> WatchAssignmentsAsync(
        WatchAssignmentsRequest request, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        if (Away)
        {
            throw Unavailable();
        }

        var stream = Channel.CreateUnbounded<AssignmentEvent>();
        _streams.Add(stream);
        while (await stream.Reader.WaitToReadAsync(cancellationToken))
        {
            while (stream.Reader.TryRead(out var @event))
            {
                yield return @event;
            }
        }
    }

    public async Task<ReportStatusResponse> ReportStatusAsync(ReportStatusRequest request, CancellationToken cancellationToken)
    {
        if (ReportLatency > TimeSpan.Zero)
        {
            await Task.Delay(ReportLatency, time, cancellationToken);
        }

        if (Away)
        {
            throw Unavailable();
        }

        request = request.Clone();
        foreach (var report in request.Reports)
        {
            report.Uid = AgentWorld.NameOf(report.Uid);
        }

        foreach (var removal in request.Removed)
        {
            removal.Uid = AgentWorld.NameOf(removal.Uid);
        }

        foreach (var instance in request.Unclaimed?.Instances ?? [])
        {
            instance.Uid = AgentWorld.NameOf(instance.Uid);
        }

        Reports.Add(request);
        if (request.Reports.Any(IsInvalid))
        {
            throw new RpcException(new Status(StatusCode.InvalidArgument, "reports: not what an agent observes"));
        }

        var response = new ReportStatusResponse();
        foreach (var report in request.Reports)
        {
            var result = Judge(report);
            response.Results.Add(result);
            if (result == ReportResult.Accepted)
            {
                Statuses[report.Uid] = report.Clone();
            }
        }

        Removed.AddRange(request.Removed.Select(removal => $"{removal.Uid}@{removal.Epoch}"));
        Unclaimed = request.Unclaimed?.Instances ?? Unclaimed;
        UnansweredTypes = request.Unclaimed?.UnansweredTypes ?? UnansweredTypes;
        return response;
    }

    public Task<ResolveImageResponse> ResolveImageAsync(ResolveImageRequest request, CancellationToken cancellationToken) => throw new NotSupportedException();

    public IAsyncEnumerable<FetchBlobResponse> FetchBlobAsync(FetchBlobRequest request, CancellationToken cancellationToken) => throw new NotSupportedException();

    private static RpcException Unavailable() => new(new Status(StatusCode.Unavailable, "away"));
}
