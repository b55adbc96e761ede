namespace Hypervisor.Server;

/// <summary>
/// Runs what runs for long as long as the program does. Only here, at the composition root, does work leave its
/// synchronization context. Anything that ends before it is asked to ends the program: a supervisor starts it afresh.
/// </summary>
internal sealed partial class HostedTask(string name, Func<CancellationToken, Task> run, IHostApplicationLifetime lifetime, ILogger<HostedTask> logger)
    : BackgroundService
{
    /// <summary>Set when any of them failed: the program's exit code.</summary>
    public static bool AnyFailed { get; private set; }

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        try
        {
            await run(stoppingToken);
            if (stoppingToken.IsCancellationRequested)
            {
                return;
            }

            LogEnded(logger, name, null);
        }
        catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
        {
            return;
        }
#pragma warning disable CA1031 // The last stop before the thread pool; it is logged and ends the program.
        catch (Exception exception)
#pragma warning restore CA1031
        {
            LogEnded(logger, name, exception);
        }

        AnyFailed = true;
        lifetime.StopApplication();
    }

    [LoggerMessage(Level = LogLevel.Critical, Message = "{Name} ended unexpectedly; the server stops")]
    private static partial void LogEnded(ILogger logger, string name, Exception? exception);
}
