using Hypervisor.Protocol.V1;

namespace Hypervisor.Server.Scheduling.Filters;

/// <summary>The node runs guests' instructions in the way that the instance asks for, as its agent found out with a guest of its own.</summary>
internal sealed class AcceleratorFilter : IPlacementFilter
{
    public string Name => "Accelerator";

    public Rejection? Judge(PlacementRequest request, CandidateNode node)
    {
        var asked = request.Accelerator switch
        {
            AcceleratorRequirement.Kvm => Accelerator.Kvm,
            AcceleratorRequirement.Tcg => Accelerator.Tcg,
            _ => Accelerator.Unspecified,
        };
        return asked == Accelerator.Unspecified || node.Inventory.Accelerator == asked
            ? null
            : new($"runs guests with {Text(node.Inventory.Accelerator)}, not with {Text(asked)}", $"do not run guests with {Text(asked)}");
    }

    public IReadOnlyList<Remedy> Remedies(PlacementRequest request, CandidateNode node) =>
    [
        new(RemedyKind.AnyAccelerator, request.Accelerator.ToString().ToLowerInvariant(), "ask for no accelerator")
        {
            OnRequest = changed => changed with { Accelerator = AcceleratorRequirement.Unspecified },
        },
    ];

    private static string Text(Accelerator accelerator) => accelerator switch
    {
        Accelerator.Kvm => "KVM",
        Accelerator.Tcg => "software emulation",
        _ => "nothing",
    };
}
