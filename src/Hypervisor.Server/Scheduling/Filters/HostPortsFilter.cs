namespace Hypervisor.Server.Scheduling.Filters;

/// <summary>The host ports that the instance publishes are free.</summary>
internal sealed class HostPortsFilter : IPlacementFilter
{
    public string Name => "HostPorts";

    public Rejection? Judge(PlacementRequest request, CandidateNode node)
    {
        foreach (var wanted in request.Ports)
        {
            foreach (var used in node.UsedPorts)
            {
                if (wanted.ConflictsWith(used))
                {
                    return new($"has port {wanted} taken by another instance", $"have port {wanted} taken by other instances");
                }
            }
        }

        return null;
    }
}
