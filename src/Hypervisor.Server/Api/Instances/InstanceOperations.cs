using Hypervisor.Server.Api.Instances.Snapshots;
using Hypervisor.Server.Api.Instances.Updates;
using Hypervisor.Server.Api.Watches;

namespace Hypervisor.Server.Api.Instances;

/// <summary>Everything that can be asked of instances, without gRPC: what the service adapts and the simulation calls.</summary>
internal sealed record InstanceOperations(
    InstanceCreation Creation,
    InstanceDeletion Deletion,
    InstancePower Power,
    InstanceUpdate Updates,
    InstanceSnapshots Snapshots,
    InstanceCloning Cloning,
    InstanceQueries Queries,
    WatchHub Watches,
    BulkCreation Bulk);
