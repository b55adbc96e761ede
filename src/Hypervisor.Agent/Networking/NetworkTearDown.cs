using Hypervisor.Agent.Drivers;

namespace Hypervisor.Agent.Networking;

/// <summary>What <c>--teardown-network</c> does.</summary>
internal static class NetworkTearDown
{
    /// <returns>The exit code.</returns>
    public static async Task<int> RunAsync(IServiceProvider services)
    {
        if (services.GetService<INodeNetwork>() is not { } network)
        {
            return 0;
        }

        using var deadline = new CancellationTokenSource(Limits.ActionDeadline, services.GetRequiredService<TimeProvider>());
        try
        {
            await network.TearDownAsync(deadline.Token);
            return 0;
        }
        catch (DriverException exception)
        {
            Console.Error.WriteLine($"hypervisor-agent: {exception.Message}");
            return 1;
        }
    }
}
