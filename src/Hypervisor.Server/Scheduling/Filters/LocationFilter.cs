using Hypervisor.Protocol.V1;

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

    public IReadOnlyList<Remedy> Remedies(PlacementRequest request, CandidateNode node)
    {
        var remedies = new List<Remedy>(2);
        if (request.Region.Length > 0 && request.Region != node.Inventory.Region)
        {
            remedies.Add(Other("region", request.Region, changed => changed with { Region = "" }));
        }

        if (request.Zone.Length > 0 && request.Zone != node.Inventory.Zone)
        {
            remedies.Add(Other("zone", request.Zone, changed => changed with { Zone = "" }));
        }

        return remedies;
    }

    private static Remedy Other(string kind, string name, Func<PlacementRequest, PlacementRequest> change) =>
        new(RemedyKind.OtherLocation, $"{kind}={name}", $"allow another {kind} than {name}") { OnRequest = change };
}
