namespace Hypervisor.Server.Api.Groups;

/// <summary>Everything that can be asked of groups, without gRPC: what the service adapts and tests call.</summary>
internal sealed record GroupOperations(GroupCreation Creation, GroupUpdates Updates, GroupQueries Queries);
