using Hypervisor.Protocol.V1;

namespace Hypervisor.Server.Scheduling.Filters;

/// <summary>Every taint that keeps instances away is tolerated.</summary>
internal sealed class TaintFilter : IPlacementFilter
{
    public string Name => "Taints";

    public Rejection? Judge(PlacementRequest request, CandidateNode node)
    {
        foreach (var taint in node.Taints)
        {
            if (Refuses(taint, request))
            {
                return new($"has the taint {Text(taint)}", $"have the taint {Text(taint)}");
            }
        }

        return null;
    }

    public IReadOnlyList<Remedy> Remedies(PlacementRequest request, CandidateNode node) =>
    [
        .. node.Taints.Where(taint => Refuses(taint, request)).Select(taint => new Remedy(RemedyKind.Tolerate, Text(taint), $"tolerate the taint {Text(taint)}")
        {
            OnRequest = changed => changed with
            {
                Tolerations = [.. changed.Tolerations, new Toleration { Key = taint.Key, Value = taint.Value, Effect = taint.Effect }],
            },
        }),
    ];

    private static bool Refuses(Taint taint, PlacementRequest request) =>
        taint.Effect != TaintEffect.PreferNoSchedule && !IsTolerated(taint, request.Tolerations);

    public static bool IsTolerated(Taint taint, IReadOnlyList<Toleration> tolerations)
    {
        foreach (var toleration in tolerations)
        {
            if ((toleration.Effect == TaintEffect.Unspecified || toleration.Effect == taint.Effect)
                && (toleration.Key.Length == 0 || toleration.Key == taint.Key)
                && (toleration.Value.Length == 0 || toleration.Value == taint.Value))
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>"key=value:no-execute".</summary>
    public static string Text(Taint taint)
    {
        var effect = taint.Effect == TaintEffect.NoExecute ? "no-execute" : "no-schedule";
        return taint.Value.Length == 0 ? $"{taint.Key}:{effect}" : $"{taint.Key}={taint.Value}:{effect}";
    }
}
