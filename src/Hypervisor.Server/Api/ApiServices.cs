using Grpc.AspNetCore.Server.Model;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Encoded;
using Hypervisor.Server.Api.Errors;
using Hypervisor.Server.Api.Events;
using Hypervisor.Server.Api.Groups;
using Hypervisor.Server.Api.Instances;
using Hypervisor.Server.Api.Lists;
using Hypervisor.Server.Api.Nodes;
using Hypervisor.Server.Api.Streams;
using Hypervisor.Server.Api.Watches;
using Hypervisor.Server.Backups;
using Hypervisor.Server.Controllers;
using Hypervisor.Server.Replicas;
using Hypervisor.Server.State;
using Hypervisor.Server.Stores;
using Hypervisor.Server.Telemetry;

namespace Hypervisor.Server.Api;

internal static class ApiServices
{
    /// <param name="replica">This server's name.</param>
    /// <param name="address">Where it is called.</param>
    /// <param name="strategy">For instances that name none.</param>
    public static IServiceCollection AddApi(this IServiceCollection services, string replica, string address, PlacementStrategy strategy)
    {
        services.AddSingleton<ErrorTranslation>();
        services.AddSingleton<PagedReads>();
        services.AddSingleton<WatchHub>();
        services.AddInstances();
        services.AddGroups();
        services.AddSingleton<EventReads>();
        services.AddStreams();
        services.AddSingleton<NodeReads>();
        services.AddSingleton<NodeUpdates>();
        services.AddSingleton<ClusterBackup>();
        services.AddSingleton<InstanceAdoption>();
        services.AddSingleton<InstancePurge>();
        services.AddSingleton(provider => new ClusterSummary(
            provider.GetRequiredService<ViewReads>(),
            provider.GetRequiredService<IClusterStore>(),
            provider.GetRequiredService<ReplicaCalls>(),
            provider.GetRequiredService<ZoneLossReport>(),
            provider.GetRequiredService<TimeProvider>(),
            replica,
            address));

        services.AddSingleton<TrialTurn>();
        services.AddSingleton(provider => new WhatIfQuery(provider.GetRequiredService<ViewReads>(), provider.GetRequiredService<TrialTurn>(), strategy));
        services.AddSingleton(provider => new Rebalancing(
            provider.GetRequiredService<ViewReads>(), provider.GetRequiredService<TrialTurn>(), provider.GetRequiredService<Rebalancer>(), strategy));

        // Services hold no state of a call; one of each spares an allocation tree per call.
        services.AddSingleton<ClusterService>();
        services.AddSingleton<ComputeService>();
        services.AddSingleton<GroupService>();
        services.AddSingleton<AssignmentService>();

        services.AddGrpc(options =>
        {
            options.Interceptors.Add<CallMeter>();
            options.Interceptors.Add<ErrorInterceptor>();
            options.MaxReceiveMessageSize = Limits.Server.ReceivedMessageBytes;
            options.MaxSendMessageSize = Limits.Server.SentMessageBytes;
        });
        services.AddSingleton<IServiceMethodProvider<ComputeService>, EncodedMethods>();
        services.AddSingleton<ErrorInterceptor>();
        services.AddSingleton<ReadinessCheck>();
        services.AddGrpcReflection();
        services.AddGrpcHealthChecks().AddCheck<ReadinessCheck>("ready");
        return services;
    }

    public static void MapApi(this IEndpointRouteBuilder endpoints)
    {
        endpoints.MapGrpcService<ClusterService>();
        endpoints.MapGrpcService<ComputeService>();
        endpoints.MapGrpcService<GroupService>();
        endpoints.MapGrpcService<AssignmentService>();
        endpoints.MapGrpcReflectionService();
        endpoints.MapGrpcHealthChecksService();
    }
}
