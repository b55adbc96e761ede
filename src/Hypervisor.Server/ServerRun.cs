using Hypervisor.Hosting.Configuration;
using Hypervisor.Server.Configuration;
using Hypervisor.Server.Images;
using Hypervisor.Server.Images.Blobs;
using Hypervisor.Server.Stores;

namespace Hypervisor.Server;

/// <summary>From a built server to its exit code.</summary>
internal static partial class ServerRun
{
    /// <exception cref="StartupException">It cannot listen.</exception>
    /// <exception cref="StoreUnavailableException">It cannot open its store.</exception>
    public static async Task<int> RunAsync(WebApplication app, ServerConfiguration configuration)
    {
        var logger = app.Services.GetRequiredService<ILogger<HostedTask>>();

        // Before anything listens: a store that does not open is a line on the terminal, not a stack trace of a host.
        var store = app.Services.GetRequiredService<IClusterStore>();
        try
        {
            _ = app.Services.GetRequiredService<BlobStore>();
        }
        catch (ImageStorageException exception)
        {
            throw new StartupException(exception.Message, exception);
        }

        if (configuration.Insecure)
        {
            LogInsecure(logger, configuration.GrpcAddress, configuration.HttpAddress);
        }

        try
        {
            await app.StartAsync();
        }
        catch (IOException exception)
        {
            throw KestrelSetup.BusyPort(configuration, exception);
        }

        LogServing(logger, CommandLine.Version, configuration.GrpcAddress, configuration.HttpAddress, store.Kind);
        await app.WaitForShutdownAsync();
        return HostedTask.AnyFailed ? 1 : 0;
    }

    [LoggerMessage(Level = LogLevel.Information, Message = "hypervisor-server {Version}: gRPC on {Grpc}, REST on http://{Http}, {Store} store")]
    private static partial void LogServing(ILogger logger, string version, HostPort grpc, HostPort http, string store);

    [LoggerMessage(Level = LogLevel.Warning, Message = "insecure: true: nobody who reaches {Grpc} or {Http} is asked who they are; everybody may do everything")]
    private static partial void LogInsecure(ILogger logger, HostPort grpc, HostPort http);
}
