using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Errors;
using Hypervisor.Server.Api.Instances;
using Hypervisor.Server.Api.Validation;
using Hypervisor.Server.Nodes;
using Hypervisor.Server.Scheduling;
using Hypervisor.Server.Scheduling.Fleets;
using Hypervisor.Server.Scheduling.Trials;
using Hypervisor.Server.State;

namespace Hypervisor.Server.Api.Nodes;

/// <summary>WhatIf: of this replica's view, on a copy of the fleet.</summary>
/// <param name="clusterDefault">For instances that name no strategy.</param>
internal sealed class WhatIfQuery(ViewReads reads, TrialTurn turn, PlacementStrategy clusterDefault)
{
    /// <exception cref="Grpc.Core.RpcException">
    /// INVALID_ARGUMENT, NOT_FOUND of a node; RESOURCE_EXHAUSTED while another is tried; DEADLINE_EXCEEDED.
    /// </exception>
    public async Task<WhatIfResponse> TryAsync(WhatIfRequest request, CancellationToken cancellationToken)
    {
        var violations = new FieldViolations();
        WhatIfValidation.Check(request, violations);
        violations.ThrowIfAny();
        var view = await reads.ViewAsync(request.Consistency, cancellationToken);
        var changes = ChangesOf(request, view);
        return await turn.TryAsync(trying => WhatIf.Try(view, changes, clusterDefault, trying), cancellationToken);
    }

    private WhatIfChanges ChangesOf(WhatIfRequest request, ClusterView view)
    {
        var violations = new FieldViolations();
        var lost = new HashSet<NodeId>();
        foreach (var (index, zone) in request.LoseZones.Index())
        {
            lost.UnionWith(WhatIfNames.InZone(view, zone, $"lose_zones[{index}]", violations));
        }

        foreach (var (index, region) in request.LoseRegions.Index())
        {
            lost.UnionWith(WhatIfNames.InRegion(view, region, $"lose_regions[{index}]", violations));
        }

        violations.ThrowIfAny();
        foreach (var (index, node) in request.LoseNodes.Index())
        {
            lost.Add(NodeReferences.Resolve(view, node, $"lose_nodes[{index}]").Id);
        }

        return new(
            lost,
            [.. request.Add.Select((added, index) => (Like(view, added, $"add[{index}].like"), added.Count))],
            [.. request.Place.Select(placed => (RequestOf(placed), placed.Count))]);
    }

    private static CandidateNode Like(ClusterView view, WhatIfNodes added, string field)
    {
        var node = NodeReferences.Resolve(view, added.Like, field);
        if (node.Inventory is null)
        {
            throw ApiErrors.FailedPrecondition("NODE_NOT_REGISTERED", $"Node '{node.Name}' has not said yet what it has.", "Node", node.Name);
        }

        var inventory = node.Inventory.Clone();
        if (added.Region.Length + added.Zone.Length > 0)
        {
            // A zone is one of the model's region, unless another one is named.
            (inventory.Region, inventory.Zone) = (added.Region.Length > 0 ? added.Region : inventory.Region, added.Zone);
        }

        return FleetLedger.Describe(node, inventory) with { Scheduling = NodeScheduling.Schedulable, Liveness = NodeLiveness.Ready };
    }

    private PlacementRequest RequestOf(WhatIfInstances placed) => PlacementRequest.Of(
        default, placed.Project.Length == 0 ? Projects.Default : placed.Project, placed.Labels, SpecDefaults.Fill(placed.Spec), clusterDefault);
}
