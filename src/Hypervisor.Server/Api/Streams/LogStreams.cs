using Grpc.Core;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Errors;

namespace Hypervisor.Server.Api.Streams;

/// <summary>StreamLogs: reads a log through its agent, and goes on where it was after the agent or the placement has changed.</summary>
internal sealed class LogStreams(InstanceRoutes routes, TimeProvider time)
{
    private const long MaxTail = 1_000_000;

    public async Task ReadAsync(StreamLogsRequest request, IServerStreamWriter<StreamLogsResponse> answers, CancellationToken cancellationToken)
    {
        if (request.HasTail && request.Tail is < 0 or > MaxTail)
        {
            throw ApiErrors.InvalidArgument("tail", $"{request.Tail} is outside 0 to {MaxTail}.");
        }

        var route = await routes.ResolveAsync(request.Project, request.Instance, cancellationToken);
        // From here on by uid: a new instance of the same name is another one.
        var (project, uid) = (route.Instance.Project, route.Instance.Id.Value);
        var options = request.Clone();
        var position = 0L;
        while (true)
        {
            try
            {
                using var call = route.Agent.StreamLogs(
                    new AgentLogsRequest { Instance = route.Copy, Options = options, Position = position }, route.Headers, cancellationToken: cancellationToken);
                while (await call.ResponseStream.MoveNext(cancellationToken))
                {
                    await answers.WriteAsync(call.ResponseStream.Current.Lines, cancellationToken);
                    position = call.ResponseStream.Current.Position;
                    options.ClearTail();
                }

                if (!request.Follow)
                {
                    return;
                }
            }
            catch (RpcException error) when (!request.Follow || cancellationToken.IsCancellationRequested || !AgentErrors.IsPassing(error))
            {
                throw AgentErrors.Translate(error, route, cancellationToken);
            }
            catch (RpcException)
            {
                // The agent is being restarted, or the instance placed anew: the follower goes on when it is back.
            }

            var before = route;
            if (await NextAsync(project, uid, cancellationToken) is not { } next)
            {
                return;
            }

            route = next;
            if (route.Node.Id != before.Node.Id)
            {
                // Another node's log begins anew, and all of it is news.
                position = 0;
                options.ClearTail();
            }
        }
    }

    /// <summary>Where the instance is now; waits while it is nowhere. Null once it is gone.</summary>
    private async Task<InstanceRoute?> NextAsync(string project, string uid, CancellationToken cancellationToken)
    {
        while (true)
        {
            await Task.Delay(Limits.Streams.Reconnect, time, cancellationToken);
            try
            {
                return await routes.ResolveAsync(project, uid, cancellationToken);
            }
            catch (RpcException error) when (error.StatusCode == StatusCode.NotFound)
            {
                return null;
            }
            catch (RpcException error) when (error.StatusCode is StatusCode.Unavailable or StatusCode.FailedPrecondition)
            {
                // No node, or one that is away: not for ever, or the instance is deleted.
            }
        }
    }
}
