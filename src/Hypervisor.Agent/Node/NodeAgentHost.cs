using Grpc.Core;

namespace Hypervisor.Agent.Node;

/// <summary>Runs the agent within the host; the only place that leaves the caller's context.</summary>
/// <remarks>
/// Begins once the endpoint listens, so that an agent whose port is taken has touched nothing. An agent that breaks ends the process: its supervisor starts a new one, which takes over what runs.
/// </remarks>
internal sealed partial class NodeAgentHost(NodeAgent agent, IHostApplicationLifetime lifetime, ILogger<NodeAgentHost> logger) : BackgroundService
{
    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        try
        {
            var listening = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            await using (lifetime.ApplicationStarted.Register(listening.SetResult))
            {
                await listening.Task.WaitAsync(stoppingToken);
            }

            await agent.RunAsync(stoppingToken);
        }
        catch (Exception asked) when (stoppingToken.IsCancellationRequested
            && asked is OperationCanceledException or RpcException { StatusCode: StatusCode.Cancelled })
        {
            // To stop; a stream that is read then ends by its own kind of cancellation.
        }
        catch (Exception failure)
        {
            LogBroken(failure);
            Environment.ExitCode = 1;
            lifetime.StopApplication();
        }
    }

    [LoggerMessage(Level = LogLevel.Critical, Message = "The agent cannot go on and ends; instances keep running")]
    private partial void LogBroken(Exception failure);
}
