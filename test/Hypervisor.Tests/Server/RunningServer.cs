using Grpc.Net.Client;
using Hypervisor.Hosting.Configuration;
using Hypervisor.Hosting.Randomness;
using Hypervisor.Server;
using Hypervisor.Server.Configuration;
using Hypervisor.Server.Stores;
using Hypervisor.Server.Stores.Memory;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace Hypervisor.Tests.Server;

/// <summary>The whole server on real ports, with a store in memory and a folder of its own.</summary>
internal sealed class RunningServer : IAsyncDisposable
{
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("hypervisor-test-");
    private readonly WebApplication _app;

    private RunningServer(Func<ServerConfiguration, ServerConfiguration>? change, IClusterStore? store)
    {
        var configuration = new ServerConfiguration
        {
            GrpcAddress = new HostPort("127.0.0.1", 0),
            HttpAddress = new HostPort("127.0.0.1", 0),
            DataDirectory = _folder.FullName,
            LogLevel = LogLevel.Warning,
        };
        _app = ServerApplication.Build(change?.Invoke(configuration) ?? configuration, RealClock.Instance, new SystemRandomSource(), services =>
        {
            if (store is null)
            {
                services.AddSingleton<IClusterStore>(provider => new MemoryStore(provider.GetRequiredService<TimeProvider>()));
            }
            else
            {
                services.AddSingleton(store);
            }

            services.AddSingleton<StoreWriter>();
        });
    }

    public GrpcChannel Channel { get; private set; } = null!;

    /// <summary>Of <c>grpc_addr</c>.</summary>
    public Uri GrpcAddress => new(_app.Urls.First());

    /// <summary>Of <c>http_addr</c>.</summary>
    public Uri HttpAddress => new(_app.Urls.ElementAt(1));

    /// <param name="store">Of several servers, and theirs who made it; null is one of its own.</param>
    public static async Task<RunningServer> StartAsync(
        CancellationToken cancellationToken, Func<ServerConfiguration, ServerConfiguration>? change = null, IClusterStore? store = null)
    {
        var server = new RunningServer(change, store);
        await server._app.StartAsync(cancellationToken);
        server.Channel = GrpcChannel.ForAddress(server._app.Urls.First());
        return server;
    }

    /// <summary>As when the process is told to end.</summary>
    public Task StopAsync(CancellationToken cancellationToken) => _app.StopAsync(cancellationToken);

    public async ValueTask DisposeAsync()
    {
        Channel.Dispose();
        await _app.StopAsync(CancellationToken.None);
        await _app.DisposeAsync();
        _folder.Delete(recursive: true);
    }
}
