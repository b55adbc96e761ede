using Hypervisor.Protocol.V1;

namespace Hypervisor.Server.Scheduling.Filters;

/// <summary>The node has a driver for the type, and the driver said that it works there.</summary>
internal sealed class InstanceTypeFilter : IPlacementFilter
{
    public string Name => "InstanceType";

    public Rejection? Judge(PlacementRequest request, CandidateNode node)
    {
        RuntimeInfo? unavailable = null;
        foreach (var runtime in node.Inventory.Runtimes)
        {
            if (runtime.Type != request.Type)
            {
                continue;
            }

            if (runtime.Available)
            {
                return null;
            }

            unavailable ??= runtime;
        }

        var type = TypeText(request.Type);
        if (unavailable is null)
        {
            return new($"has no driver for {type}", $"have no driver for {type}");
        }

        // A type whose driver this agent does not even have is reported without one.
        var why = unavailable.Driver.Length == 0 ? unavailable.Message : $"{unavailable.Driver}: {unavailable.Message}";
        return new($"cannot run {type}: {why}", $"cannot run {type}, for example: {why}");
    }

    public IReadOnlyList<Remedy> Remedies(PlacementRequest request, CandidateNode node) =>
    [
        new(RemedyKind.AddDriver, request.Type.ToString().ToLowerInvariant(), $"have a working driver for {TypeText(request.Type)} on {node.Name}")
        {
            OnNode = changed =>
            {
                var inventory = changed.Inventory.Clone();
                inventory.Runtimes.Add(new RuntimeInfo { Type = request.Type, Available = true });
                return changed with { Inventory = inventory };
            },
        },
    ];

    private static string TypeText(InstanceType type) => type switch
    {
        InstanceType.Vm => "VMs",
        InstanceType.Container => "containers",
        InstanceType.Microvm => "microVMs",
        _ => "instances of an unknown type",
    };
}
