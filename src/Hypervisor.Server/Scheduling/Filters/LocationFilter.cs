namespace Hypervisor.Server.Scheduling.Filters;

/// <summary>Region and zone, where the instance names them.</summary>
internal sealed class LocationFilter : IPlacementFilter
{
    public string Name => "Location";

    public Rejection? Judge(PlacementRequest request, CandidateNode node)
    {
        if (request.Region.Length > 0 && request.Region != node.Inventory.Region)
        {
            return new($"is not in region {request.Region}", $"are not in region {request.Region}");
        }

        return request.Zone.Length > 0 && request.Zone != node.Inventory.Zone
            ? new($"is not in zone {request.Zone}", $"are not in zone {request.Zone}")
            : null;
    }
}
