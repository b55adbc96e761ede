using Google.Protobuf;
using Grpc.Core;
using Hypervisor.Agent.Drivers;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Streams;

/// <summary>Finds the copy of an instance that is held here.</summary>
internal delegate (Epoch Epoch, IInstanceDriver Driver)? InstanceLookup(string uid);

/// <summary>Every stream into the instances of this node: who may open it, how many there are, and how it ends.</summary>
internal sealed partial class InstanceStreams(InstanceLookup lookup, StreamTokens tokens, StreamGate gate, TimeProvider time)
{
    private readonly ConsoleWriters _writers = new();

    public OpenStreamResponse Open(OpenStreamRequest request)
    {
        var (id, epoch, _) = Locate(request.Instance);
        if (!System.Enum.IsDefined(request.Kind) || request.Kind == StreamKind.Unspecified)
        {
            throw StreamErrors.Of(StatusCode.InvalidArgument, "KindInvalid", "kind: which stream is to be opened has to be said");
        }

        return new OpenStreamResponse
        {
            Token = tokens.Mint(new StreamPermit(id, epoch, request.Kind))
                ?? throw StreamErrors.Of(StatusCode.ResourceExhausted, "TooManyStreams", "too many streams are being opened; try again in some seconds"),
        };
    }

    public async Task StatsAsync(AgentStatsRequest request, IServerStreamWriter<InstanceStats> answers, CancellationToken cancellationToken)
    {
        var (id, epoch, access) = Locate(request.Instance);
        using var place = Enter(id);
        using var outlet = new Outlet<InstanceStats>(answers, time);
        var last = await access.MeasureAsync(id, epoch, cancellationToken);
        var gap = request.Interval?.ToTimeSpan() is { } interval && interval > StreamLimits.SampleGap ? interval : StreamLimits.SampleGap;
        // The first answer does not wait for a whole interval.
        for (var wait = StreamLimits.SampleGap; ; wait = gap)
        {
            await Task.Delay(wait, time, cancellationToken);
            InstanceStats next;
            try
            {
                next = await access.MeasureAsync(id, epoch, cancellationToken);
            }
            catch (DriverException ended) when (ended.Reason == "NotRunning" && request.Interval is not null)
            {
                return;
            }

            next.CpuPercent = CpuPercent(last, next);
            await outlet.WriteAsync(next, cancellationToken);
            if (request.Interval is null)
            {
                return;
            }

            last = next;
        }
    }

    public async Task LogsAsync(AgentLogsRequest request, IServerStreamWriter<AgentLogsResponse> answers, CancellationToken cancellationToken)
    {
        var (id, _, access) = Locate(request.Instance);
        using var place = Enter(id);
        using var outlet = new Outlet<AgentLogsResponse>(answers, time);
        var reader = new Logs.LogReader(access.LogOf(id), request.Options ?? new StreamLogsRequest(), request.Position);
        await foreach (var lines in reader.ReadAsync(cancellationToken))
        {
            await outlet.WriteAsync(lines, cancellationToken);
        }
    }

    internal static double CpuPercent(InstanceStats before, InstanceStats after)
    {
        var elapsed = (after.SampledAt - before.SampledAt).ToTimeSpan();
        return elapsed > TimeSpan.Zero && after.CpuTime is { } end && before.CpuTime is { } start
            ? Math.Max(0, (end.ToTimeSpan() - start.ToTimeSpan()) / elapsed * 100)
            : 0;
    }

    private (InstanceId Id, Epoch Epoch, IInstanceAccess Access) Locate(InstanceCopy? copy)
    {
        var (uid, epoch) = (copy?.Uid ?? "", new Epoch(copy?.Epoch ?? 0));
        if (lookup(uid) is not { } held)
        {
            throw StreamErrors.Of(StatusCode.NotFound, "InstanceNotHere", "the node does not hold the instance, or has not been told of it yet");
        }

        if (held.Epoch != epoch)
        {
            throw StreamErrors.Of(StatusCode.FailedPrecondition, "EpochMismatch", $"the instance is here under epoch {held.Epoch}, not {epoch}");
        }

        return (new InstanceId(uid), epoch, held.Driver.Access
            ?? throw StreamErrors.Of(StatusCode.Unimplemented, "NoAccess", $"instances of {held.Driver.Name} have no way in"));
    }

    private (InstanceId Id, Epoch Epoch, IInstanceAccess Access, IDisposable Place) Redeem(ServerCallContext context, StreamKind kind)
    {
        if (tokens.Burn(context.RequestHeaders.GetValue("hypervisor-stream-token"), kind) is not { } permit)
        {
            throw StreamErrors.Of(StatusCode.PermissionDenied, "TokenInvalid", "the stream's token is missing, used, too old or for something else: open the stream anew");
        }

        var (id, epoch, access) = Locate(new InstanceCopy { Uid = permit.Id.Value, Epoch = permit.Epoch.Value });
        return (id, epoch, access, Enter(id));
    }

    private IDisposable Enter(InstanceId id) => gate.TryEnter(id) ?? throw StreamErrors.Of(
        StatusCode.ResourceExhausted,
        "TooManyStreams",
        $"the instance has {StreamLimits.PerInstance} streams open already, or its node {StreamLimits.PerNode}; close some");

    private async Task<T> FirstAsync<T>(IAsyncStreamReader<T> requests, CancellationToken cancellationToken)
    {
        using var deadline = new CancellationTokenSource(StreamLimits.FirstMessage, time);
        using var linked = CancellationTokenSource.CreateLinkedTokenSource(deadline.Token, cancellationToken);
        try
        {
            return await requests.MoveNext(linked.Token)
                ? requests.Current
                : throw StreamErrors.Of(StatusCode.InvalidArgument, "NoRequest", "the stream ended before its first message");
        }
        catch (OperationCanceledException) when (deadline.IsCancellationRequested && !cancellationToken.IsCancellationRequested)
        {
            throw StreamErrors.Of(StatusCode.DeadlineExceeded, "NoRequest", $"the first message did not come within {StreamLimits.FirstMessage.TotalSeconds} s");
        }
    }

    private static void CheckLength(ByteString data, string field)
    {
        if (data.Length > StreamLimits.InputBytes)
        {
            throw StreamErrors.Of(StatusCode.InvalidArgument, "MessageTooLarge", $"{field}: {data.Length} bytes; at most {StreamLimits.InputBytes} are taken at once");
        }
    }
}
