using Google.Protobuf.WellKnownTypes;
using Grpc.Core;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Errors;
using Hypervisor.Server.Api.Validation;

namespace Hypervisor.Server.Api.Streams;

/// <summary>Everything that reaches into an instance: from any replica to the agent of its node.</summary>
internal sealed class InstanceStreams(InstanceRoutes routes, TimeProvider time)
{
    private const string TokenHeader = "hypervisor-stream-token";

    private static readonly TimeSpan DefaultInterval = TimeSpan.FromSeconds(2);

    public async Task ExecAsync(IAsyncStreamReader<ExecInput> requests, IServerStreamWriter<ExecOutput> answers, CancellationToken cancellationToken)
    {
        var first = await FirstAsync(requests, cancellationToken);
        ExecValidation.Check(first);
        var route = await routes.ResolveAsync(first.Project, first.Instance, cancellationToken);
        await GuardAsync(route, async () =>
        {
            using var call = route.Agent.Exec(await OpenAsync(route, StreamKind.Exec, cancellationToken), cancellationToken: cancellationToken);
            await Relay.BothWaysAsync(first, requests, answers, call, cancellationToken);
        }, cancellationToken);
    }

    public async Task AttachAsync(IAsyncStreamReader<ConsoleInput> requests, IServerStreamWriter<ConsoleOutput> answers, CancellationToken cancellationToken)
    {
        var first = await FirstAsync(requests, cancellationToken);
        var route = await routes.ResolveAsync(first.Project, first.Instance, cancellationToken);
        await GuardAsync(route, async () =>
        {
            using var call = route.Agent.AttachConsole(await OpenAsync(route, StreamKind.Console, cancellationToken), cancellationToken: cancellationToken);
            await Relay.BothWaysAsync(first, requests, answers, call, cancellationToken);
        }, cancellationToken);
    }

    /// <summary>The agent's own token, for the client: whoever has it may connect once, by whichever server.</summary>
    public async Task<OpenVncResponse> OpenVncAsync(OpenVncRequest request, CancellationToken cancellationToken)
    {
        var route = await routes.ResolveAsync(request.Project, request.Instance, cancellationToken);
        RefuseWithoutDisplay(route);
        OpenVncResponse? opened = null;
        await GuardAsync(route, async () =>
        {
            var headers = await OpenAsync(route, StreamKind.Vnc, cancellationToken);
            opened = new OpenVncResponse
            {
                Token = headers.GetValue(TokenHeader),
                ExpiresAt = Timestamp.FromDateTimeOffset(time.GetUtcNow() + Limits.Streams.TokenLife),
            };
        }, cancellationToken);
        return opened!;
    }

    public async Task AttachVncAsync(IAsyncStreamReader<VncInput> requests, IServerStreamWriter<VncOutput> answers, CancellationToken cancellationToken)
    {
        var first = (await FirstAsync(requests, cancellationToken)).Clone();
        var route = await routes.ResolveAsync(first.Project, first.Instance, cancellationToken);
        RefuseWithoutDisplay(route);
        if (first.Token.Length is 0 or > Limits.Streams.TokenCharacters || first.Token.Any(character => character is <= ' ' or > '~'))
        {
            throw ApiErrors.InvalidArgument("token", "is not what OpenVnc answers; open the display first.");
        }

        Metadata headers = [.. route.Headers, new Metadata.Entry(TokenHeader, first.Token)];
        first.Token = "";
        await GuardAsync(route, async () =>
        {
            using var call = route.Agent.AttachVnc(headers, cancellationToken: cancellationToken);
            await Relay.BothWaysAsync(first, requests, answers, call, cancellationToken);
        }, cancellationToken);
    }

    public async Task CopyFromAsync(CopyFromRequest request, IServerStreamWriter<CopyPart> answers, CancellationToken cancellationToken)
    {
        CheckPath(request.Path, "path");
        var route = await routes.ResolveAsync(request.Project, request.Instance, cancellationToken);
        await GuardAsync(route, async () =>
        {
            using var call = route.Agent.CopyFrom(request, await OpenAsync(route, StreamKind.CopyFrom, cancellationToken), cancellationToken: cancellationToken);
            while (await call.ResponseStream.MoveNext(cancellationToken))
            {
                await answers.WriteAsync(call.ResponseStream.Current, cancellationToken);
            }
        }, cancellationToken);
    }

    public async Task<CopyToResponse> CopyToAsync(IAsyncStreamReader<CopyToRequest> requests, CancellationToken cancellationToken)
    {
        var first = await FirstAsync(requests, cancellationToken);
        if (first.Header is not { } header)
        {
            throw ApiErrors.InvalidArgument("header", "The first message must be the header.");
        }

        CheckPath(header.Path, "header.path");
        var route = await routes.ResolveAsync(header.Project, header.Instance, cancellationToken);
        CopyToResponse? response = null;
        await GuardAsync(route, async () =>
        {
            using var call = route.Agent.CopyTo(await OpenAsync(route, StreamKind.CopyTo, cancellationToken), cancellationToken: cancellationToken);
            using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
            var up = Relay.UpAsync(first, requests, call.RequestStream, stop.Token);
            // The agent may answer, with what is wrong, before it has taken everything.
            if (await Task.WhenAny(up, call.ResponseAsync) == up && !up.IsCompletedSuccessfully && !call.ResponseAsync.IsCompleted
                && cancellationToken.IsCancellationRequested)
            {
                await up;
            }

            try
            {
                response = await call.ResponseAsync;
            }
            finally
            {
                await stop.CancelAsync();
                await up.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing | ConfigureAwaitOptions.ContinueOnCapturedContext);
            }
        }, cancellationToken);
        return response!;
    }

    public async Task<InstanceStats> StatsAsync(GetInstanceStatsRequest request, CancellationToken cancellationToken)
    {
        var route = await routes.ResolveAsync(request.Project, request.Instance, cancellationToken);
        InstanceStats? stats = null;
        await GuardAsync(route, async () =>
        {
            using var call = route.Agent.StreamStats(
                new AgentStatsRequest { Instance = route.Copy }, route.Headers, time.GetUtcNow().UtcDateTime + Limits.Streams.Answer, cancellationToken);
            while (await call.ResponseStream.MoveNext(cancellationToken))
            {
                stats = call.ResponseStream.Current;
            }
        }, cancellationToken);
        return stats ?? throw ApiErrors.Unavailable($"Node '{route.Node.Name}' gave no sample.", Limits.Api.RetryUnavailable);
    }

    public async Task WatchStatsAsync(WatchInstanceStatsRequest request, IServerStreamWriter<InstanceStats> answers, CancellationToken cancellationToken)
    {
        var interval = request.Interval?.ToTimeSpan() ?? DefaultInterval;
        if (interval < TimeSpan.FromSeconds(1) || interval > TimeSpan.FromHours(1))
        {
            throw ApiErrors.InvalidArgument("interval", $"{interval.TotalSeconds} s is outside 1 s to 1 h.");
        }

        var route = await routes.ResolveAsync(request.Project, request.Instance, cancellationToken);
        await GuardAsync(route, async () =>
        {
            var asked = new AgentStatsRequest { Instance = route.Copy, Interval = Duration.FromTimeSpan(interval) };
            using var call = route.Agent.StreamStats(asked, route.Headers, cancellationToken: cancellationToken);
            while (await call.ResponseStream.MoveNext(cancellationToken))
            {
                await answers.WriteAsync(call.ResponseStream.Current, cancellationToken);
            }
        }, cancellationToken);
    }

    private static void RefuseWithoutDisplay(InstanceRoute route)
    {
        if (route.Instance.Spec.Type != InstanceType.Vm)
        {
            throw ApiErrors.FailedPrecondition(
                "NOT_SUPPORTED", $"Instance '{route.Instance.Name}' is no VM and has no display; attach to its console.", "Instance", route.Instance.Name);
        }
    }

    private static async Task GuardAsync(InstanceRoute route, Func<Task> work, CancellationToken cancellationToken)
    {
        try
        {
            await work();
        }
        catch (RpcException error)
        {
            throw AgentErrors.Translate(error, route, cancellationToken);
        }
    }

    private static void CheckPath(string path, string field)
    {
        var violations = new FieldViolations();
        if (TextChecks.Line(path, Limits.Instance.PathLength - 1, field, violations) && !path.StartsWith('/'))
        {
            violations.Add(field, $"'{Printable.Quote(path)}' is not an absolute path.");
        }

        violations.ThrowIfAny();
    }

    /// <summary>The header that admits the stream: asked for right before it, good once.</summary>
    private async Task<Metadata> OpenAsync(InstanceRoute route, StreamKind kind, CancellationToken cancellationToken)
    {
        var opened = await route.Agent.OpenStreamAsync(
            new OpenStreamRequest { Instance = route.Copy, Kind = kind },
            route.Headers,
            time.GetUtcNow().UtcDateTime + Limits.Streams.Answer,
            cancellationToken);
        return [.. route.Headers, new Metadata.Entry(TokenHeader, opened.Token)];
    }

    private async Task<T> FirstAsync<T>(IAsyncStreamReader<T> requests, CancellationToken cancellationToken)
    {
        using var deadline = new CancellationTokenSource(Limits.Streams.Answer, time);
        using var linked = CancellationTokenSource.CreateLinkedTokenSource(deadline.Token, cancellationToken);
        try
        {
            return await requests.MoveNext(linked.Token)
                ? requests.Current
                : throw ApiErrors.InvalidArgument("", "The stream ended before its first message.");
        }
        catch (OperationCanceledException) when (deadline.IsCancellationRequested && !cancellationToken.IsCancellationRequested)
        {
            throw ApiErrors.Error(Google.Rpc.Code.DeadlineExceeded, $"The first message did not come within {Limits.Streams.Answer.TotalSeconds} s.");
        }
    }
}
