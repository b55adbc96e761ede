using Grpc.Core;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Bench.Fleets;

/// <summary>A simulated agent from its registration until its streams end: heartbeats out, assignments in, reports out.</summary>
internal sealed class AgentLife
{
    private static readonly TimeSpan RetryReport = TimeSpan.FromMilliseconds(100);

    private readonly SimulatedAgent _agent;
    private readonly FleetConnection _connection;
    private readonly SimulatedFleet _fleet;
    private readonly string _uid;
    private readonly Metadata _headers;
    private readonly TimeSpan _interval;
    private readonly Action _beat;
    private readonly Action _send;
    private IClientStreamWriter<HeartbeatRequest>? _beats;
    private Task _writing = Task.CompletedTask;
    private long _sequence;
    private long _sentAt;
    private long _version;

    public AgentLife(SimulatedAgent agent, FleetConnection connection, SimulatedFleet fleet, RegisterNodeResponse registered)
    {
        (_agent, _connection, _fleet, _uid) = (agent, connection, fleet, registered.Node.Metadata.Uid);
        _headers = new() { { "authorization", $"Bearer {registered.Credential}" } };
        _interval = registered.HeartbeatInterval.ToTimeSpan();
        (_beat, _send) = (Beat, Send);
    }

    /// <summary>Returns when one of its streams was ended by the server.</summary>
    public async Task RunAsync(CancellationToken cancellationToken)
    {
        using var ending = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        using var beats = _connection.Nodes.Heartbeat(_headers, cancellationToken: ending.Token);
        _beats = beats.RequestStream;
        _fleet.Wheel.After(_fleet.FirstBeat(_agent.Node, _interval), _beat);
        List<Task> parts = [AcknowledgedAsync(beats.ResponseStream, ending.Token)];
        if (_fleet.Tasks.HasFlag(FleetTasks.Take))
        {
            parts.AddRange(FollowAsync(ending.Token), ReportAsync(ending.Token));
        }

        try
        {
            await await Task.WhenAny(parts);
        }
        finally
        {
            _beats = null;
            await ending.CancelAsync();
            Task all = Task.WhenAll([.. parts, _writing]);
            await all.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    /// <summary>On the wheel, once an interval.</summary>
    private void Beat()
    {
        if (_beats is null)
        {
            return;
        }

        _fleet.Wheel.After(_interval, _beat);
        var late = _agent.Draw(_agent.Node.Pool.Beat);
        if (late > TimeSpan.Zero)
        {
            _fleet.Wheel.After(late, _send);
        }
        else
        {
            Send();
        }
    }

    private void Send()
    {
        if (_beats is not { } stream || _agent.Conduct is Conduct.Silent or Conduct.Dead)
        {
            return;
        }

        if (!_writing.IsCompleted)
        {
            _fleet.Counters.Delay();
            return;
        }

        _fleet.Counters.Beat();
        Volatile.Write(ref _sentAt, _fleet.Time.GetTimestamp());
        _writing = stream.WriteAsync(new() { NodeUid = _uid, Sequence = ++_sequence, ResourceVersion = Volatile.Read(ref _version) });
    }

    private async Task AcknowledgedAsync(IAsyncStreamReader<HeartbeatResponse> answers, CancellationToken cancellationToken)
    {
        while (await answers.MoveNext(cancellationToken))
        {
            _fleet.Counters.Acknowledge(_fleet.Time.GetElapsedTime(Volatile.Read(ref _sentAt)));
        }
    }

    private async Task FollowAsync(CancellationToken cancellationToken)
    {
        using var call = _connection.Assignments.WatchAssignments(new() { NodeUid = _uid }, _headers, cancellationToken: cancellationToken);
        while (await call.ResponseStream.MoveNext(cancellationToken))
        {
            var next = call.ResponseStream.Current;
            Volatile.Write(ref _version, next.ResourceVersion);
            switch (next.EventCase)
            {
                case AssignmentEvent.EventOneofCase.Put:
                    _fleet.Counters.Assign();
                    Take(next.Put);
                    break;
                case AssignmentEvent.EventOneofCase.Remove:
                    _fleet.Counters.Assign();
                    Take(next.Remove);
                    break;
                default:
                    break;
            }
        }
    }

    private void Take(Assignment assignment)
    {
        if (!_agent.Held.Put(assignment) || !_fleet.Tasks.HasFlag(FleetTasks.Report))
        {
            return;
        }

        if (_agent.Conduct == Conduct.Refusing)
        {
            Report(assignment, InstanceState.Failed, "Refused");
            return;
        }

        Later(_agent.Node.Pool.Start, () => Report(assignment, assignment.Spec.DesiredState switch
        {
            DesiredState.Stopped => InstanceState.Stopped,
            DesiredState.Paused => InstanceState.Paused,
            DesiredState.Suspended => InstanceState.Suspended,
            _ => InstanceState.Running,
        }));
    }

    private void Take(Removal removal)
    {
        _agent.Held.Remove(removal);
        Later(_agent.Node.Pool.Stop, () =>
        {
            _agent.Held.ReportRemoved(removal);
            _agent.News.Set();
        });
    }

    private void Report(Assignment assignment, InstanceState state, string reason = "")
    {
        _agent.Held.Report(assignment, new()
        {
            State = state,
            Reason = reason,
            ObservedGeneration = assignment.Generation,
            ObservedRestartGeneration = assignment.Spec.RestartGeneration,
            Driver = "simulated",
        });
        _agent.News.Set();
    }

    private void Later(Latency latency, Action then)
    {
        var delay = _agent.Draw(latency);
        if (delay > TimeSpan.Zero)
        {
            _fleet.Wheel.After(delay, then);
        }
        else
        {
            then();
        }
    }

    /// <summary>One call at a time: what comes meanwhile makes up the next.</summary>
    private async Task ReportAsync(CancellationToken cancellationToken)
    {
        // What an earlier life could not tell any more.
        _agent.News.Set();
        while (true)
        {
            await _agent.News.WaitAsync(cancellationToken);
            while (_agent.Conduct != Conduct.Silent && _agent.Held.NextReport(_uid) is { } request)
            {
                var response = await _connection.Assignments.ReportStatusAsync(request, _headers, cancellationToken: cancellationToken);
                if (_agent.Held.Told(request, response))
                {
                    await Task.Delay(RetryReport, _fleet.Time, cancellationToken);
                }
            }
        }
    }
}
