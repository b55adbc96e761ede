namespace Hypervisor.Agent.Node;

/// <summary>Runs the agent within the host; the only place that leaves the caller's context.</summary>
/// <remarks>An agent that breaks ends the process: its supervisor starts a new one, which takes over what runs.</remarks>
internal sealed partial class NodeAgentHost(NodeAgent agent, IHostApplicationLifetime lifetime, ILogger<NodeAgentHost> logger) : BackgroundService
{
    /// <summary>The agent ended by a failure of its own.</summary>
    public bool Broken { get; private set; }

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        try
        {
            await agent.RunAsync(stoppingToken);
        }
        catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
        {
            // Asked to stop.
        }
        catch (Exception failure)
        {
            LogBroken(failure);
            Broken = true;
            Environment.ExitCode = 1;
            lifetime.StopApplication();
        }
    }

    [LoggerMessage(Level = LogLevel.Critical, Message = "The agent cannot go on and ends; instances keep running")]
    private partial void LogBroken(Exception failure);
}
