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
            if (taint.Effect != TaintEffect.PreferNoSchedule && !IsTolerated(taint, request.Tolerations))
            {
                return new($"has the taint {Text(taint)}", $"have the taint {Text(taint)}");
            }
        }

        return null;
    }

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
