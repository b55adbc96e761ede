using Grpc.AspNetCore.Server;
using Grpc.Core;
using Hypervisor.Hosting.Configuration;
using Hypervisor.Hosting.Memory;
using Hypervisor.Hosting.Randomness;
using Hypervisor.Server.Api;
using Hypervisor.Server.Configuration;
using Hypervisor.Server.Controllers;
using Hypervisor.Server.Images;
using Hypervisor.Server.Nodes;
using Hypervisor.Server.Replicas;
using Hypervisor.Server.Rest;
using Hypervisor.Server.State;
using Hypervisor.Server.Telemetry;

namespace Hypervisor.Server;

/// <summary>The server, put together: reads as a table of contents.</summary>
internal static class ServerApplication
{
    /// <param name="addStores">Where state lives; tests bring the memory store.</param>
    public static WebApplication Build(
        ServerConfiguration configuration, TimeProvider time, IRandomSource random, Action<IServiceCollection> addStores)
    {
        // Empty: nothing but our configuration decides anything, neither appsettings.json nor ASPNETCORE_ variables.
        var builder = WebApplication.CreateEmptyBuilder(new() { ApplicationName = "hypervisor-server" });
        var replica = $"{Environment.MachineName}:{configuration.GrpcAddress.Port}";

        builder.Services.AddSingleton(configuration);
        builder.Services.AddSingleton(time);
        builder.Services.AddSingleton(random);
        builder.Services.AddServerLogging(configuration.LogLevel, configuration.LogFormat);
        builder.Services.AddTelemetry(configuration.Telemetry, replica);
        addStores(builder.Services);
        builder.Services.AddState();
        builder.Services.AddImages();
        builder.Services.AddNodes(configuration);
        builder.Services.AddControllers(replica, configuration.SchedulerStrategy);
        builder.Services.AddReplicas(replica, configuration.AdvertisedAddress.ToString());
        builder.Services.AddApi(replica, configuration.GrpcAddress.ToString(), configuration.SchedulerStrategy);
        builder.Services.AddRest();
        builder.Services.AddRouting();

        // Stopped in the opposite order: first the calls, then leadership, then the view; the store is closed last.
        builder.Services.AddHostedTask("state", provider => provider.GetRequiredService<ClusterState>().RunAsync);
        builder.Services.AddHostedTask("view age", provider => provider.GetRequiredService<ViewConfirmation>().RunAsync);
        builder.Services.AddHostedTask("images", provider => provider.GetRequiredService<ImageCollector>().RunAsync);
        builder.Services.AddHostedTask("replicas", provider => provider.GetRequiredService<ReplicaDirectory>().RunAsync);
        builder.Services.AddHostedTask("leadership", provider => provider.GetRequiredService<LeadershipHost>().RunAsync);
        builder.Services.AddHostedTask("memory", _ => new IdleMemory(time).RunAsync);
        builder.Services.Configure<HostOptions>(options => options.ShutdownTimeout = Limits.Server.ShutdownDeadline);
        builder.WebHost.UseKestrelCore().ConfigureKestrel(kestrel => kestrel.ListenOn(configuration));

        var app = builder.Build();
        app.MapWhen(context => context.Connection.LocalPort == PortOf(app, configuration.HttpAddress, index: 1), HttpPort.Map);
        app.UseRouting();
        app.Use(EndStreamsOnShutdown(app.Lifetime.ApplicationStopping));
        app.MapApi();
        return app;
    }

    /// <summary>The port that is listened on, also where the configuration leaves the choice to the system.</summary>
    /// <param name="index">0 for gRPC, 1 for HTTP.</param>
    public static int PortOf(WebApplication app, HostPort configured, int index) =>
        configured.Port != 0 ? configured.Port : new Uri(app.Urls.ElementAt(index)).Port;

    /// <summary>
    /// Watches and heartbeats would hold the shutdown until its deadline; they end at once, and their clients go elsewhere.
    /// Unary calls have the deadline to finish.
    /// </summary>
    private static Func<HttpContext, RequestDelegate, Task> EndStreamsOnShutdown(CancellationToken stopping) => async (context, next) =>
    {
        if (context.GetEndpoint()?.Metadata.GetMetadata<GrpcMethodMetadata>()?.Method.Type is null or MethodType.Unary)
        {
            await next(context);
            return;
        }

        using var ending = CancellationTokenSource.CreateLinkedTokenSource(context.RequestAborted, stopping);
        context.RequestAborted = ending.Token;
        await next(context);
    };
}
