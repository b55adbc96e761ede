using Hypervisor.Protocol.V1;

namespace Hypervisor.Server.Scheduling;

/// <summary>A change of the request or of a node after which one filter has nothing against the node any more.</summary>
/// <param name="Subject">As <see cref="RemedyStep"/> has it.</param>
/// <param name="Text">Without a stop: "uncordon c".</param>
internal sealed record Remedy(RemedyKind Kind, string Subject, string Text)
{
    /// <summary>Null for one that leaves the request as it is.</summary>
    public Func<PlacementRequest, PlacementRequest>? OnRequest { get; init; }

    /// <summary>Null for one that leaves the node as it is.</summary>
    public Func<CandidateNode, CandidateNode>? OnNode { get; init; }

    /// <summary>By how much less is to be asked for.</summary>
    public ResourceAmount Less { get; init; }

    /// <summary>Likewise.</summary>
    public DeviceAmounts LessDevices { get; init; }

    /// <summary>Nothing, little or much to give up: the sum of the shares of what is asked for.</summary>
    public double Lack { get; init; }

    public int MaxSkew { get; init; }

    /// <summary>Of a node to be added: see <see cref="RemedyStep.Elsewhere"/>.</summary>
    public string Elsewhere { get; init; } = "";

    public RemedyStep ToMessage()
    {
        var step = new RemedyStep { Kind = Kind, Subject = Subject, MaxSkew = MaxSkew, Elsewhere = Elsewhere };
        if (Less != default || !LessDevices.IsNone)
        {
            step.Less = LessDevices.AddTo(Less.ToResources());
        }

        return step;
    }
}
