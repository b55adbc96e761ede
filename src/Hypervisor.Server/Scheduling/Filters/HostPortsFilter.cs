using Hypervisor.Protocol.V1;

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

    public IReadOnlyList<Remedy> Remedies(PlacementRequest request, CandidateNode node) =>
    [
        .. request.Ports.Where(wanted => node.UsedPorts.Any(wanted.ConflictsWith)).Select(wanted =>
            new Remedy(RemedyKind.OtherPort, wanted.ToString(), $"publish on another port than {wanted}")
            {
                OnRequest = changed => changed with { Ports = [.. changed.Ports.Where(port => port != wanted)] },
            }),
    ];
}
