using Grpc.Core;
using Hypervisor.Hosting.Randomness;
using Hypervisor.Server.Api;
using Hypervisor.Server.Api.Errors;
using Hypervisor.Server.Api.Instances;
using Hypervisor.Server.Configuration;
using Hypervisor.Server.Controllers;
using Hypervisor.Server.Nodes;
using Hypervisor.Server.State;
using Hypervisor.Server.Stores;
using Hypervisor.Simulation.Engine;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace Hypervisor.Simulation.Cluster;

/// <summary>One run of the real server, from start to kill, without its gRPC shell.</summary>
internal sealed class SimulatedServer
{
    private readonly ServiceProvider _services;

    public SimulatedServer(SimulatedProcess process, IClusterStore store, IRandomSource random, ServerConfiguration configuration)
    {
        Process = process;
        var services = new ServiceCollection();
        services.AddSingleton<ILoggerFactory>(NullLoggerFactory.Instance);
        services.AddSingleton(typeof(ILogger<>), typeof(NullLogger<>));
        services.AddSingleton(configuration);
        services.AddSingleton(process.Clock);
        services.AddSingleton(random);
        services.AddSingleton(store);
        services.AddSingleton<StoreWriter>();
        services.AddState();
        services.AddNodes(configuration);
        services.AddControllers(process.Name, configuration.SchedulerStrategy);
        services.AddApi(process.Name, "", configuration.SchedulerStrategy);
        _services = services.BuildServiceProvider();
    }

    public SimulatedProcess Process { get; }

    public InstanceOperations Instances => Get<InstanceOperations>();

    public NodeRegistry Nodes => Get<NodeRegistry>();

    public NodeAuthenticator Authenticator => Get<NodeAuthenticator>();

    public HeartbeatIntake Heartbeats => Get<HeartbeatIntake>();

    public AssignmentFeed Assignments => Get<AssignmentFeed>();

    public StatusIntake Statuses => Get<StatusIntake>();

    /// <summary>What the server's own code did not expect of itself: a bug.</summary>
    public Exception? Bug { get; private set; }

    /// <summary>As the gRPC shell does it.</summary>
    public RpcException Translate(Exception exception, bool cancelled)
    {
        var translated = Get<ErrorTranslation>().Translate(exception, "simulated", cancelled);
        if (translated.StatusCode == StatusCode.Internal)
        {
            Bug ??= exception;
        }

        return translated;
    }

    /// <summary>What the composition root runs as hosted tasks. Ends with an exception only by a bug.</summary>
    public Task RunAsync() => Process.RunAsync(() => Task.WhenAll(
        Get<ClusterState>().RunAsync(CancellationToken.None), Get<LeadershipHost>().RunAsync(CancellationToken.None)));

    private T Get<T>()
        where T : notnull => _services.GetRequiredService<T>();
}
