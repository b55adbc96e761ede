using Hypervisor.Protocol;
using Hypervisor.Server.Api.Errors;
using Hypervisor.Server.Api.Validation;
using Hypervisor.Server.State;

namespace Hypervisor.Server.Api.Instances;

/// <summary>Finds what a request means by a name, a uid or a unique beginning of a uid; a name goes first. One project only.</summary>
internal static class InstanceAddress
{
    private const int MatchesNamed = 5;

    public static void Check(string address, FieldViolations violations, string field = "instance")
    {
        // A uid's text is a DNS label too.
        if (!LabelSyntax.IsDnsLabel(address))
        {
            violations.Add(field, address.Length == 0
                ? "is required: a name, a uid or the beginning of one."
                : $"'{Printable.Quote(address)}' is neither a name, a uid nor the beginning of one.");
        }
    }

    /// <returns>Null when there is none.</returns>
    /// <exception cref="Grpc.Core.RpcException">FAILED_PRECONDITION when several uids begin so.</exception>
    public static InstanceEntry? Find(ClusterView view, string project, string address)
    {
        if (view.InstanceByName(project, address) is { } named)
        {
            return named;
        }

        if (address.Length < Limits.Api.UidPrefixLength)
        {
            return null;
        }

        var matches = view.InstancesByUidPrefix(address).Where(entry => entry.Project == project).Take(MatchesNamed + 1).ToList();
        return matches.Count <= 1 ? matches.FirstOrDefault() : throw Ambiguous(address, matches);
    }

    /// <summary>What is left of the instance when it is gone, if that is still known; the latest of a name.</summary>
    public static TombstoneEntry? FindTombstone(ClusterView view, string project, string address)
    {
        if (view.Tombstone(new(address)) is { } exact && exact.Record.Project == project)
        {
            return exact;
        }

        return view.TombstonesNamed(project, address).MaxBy(tombstone => tombstone.ModRevision);
    }

    /// <exception cref="Grpc.Core.RpcException">NOT_FOUND, or FAILED_PRECONDITION when several uids begin so.</exception>
    public static InstanceEntry Resolve(ClusterView view, string project, string address) =>
        Find(view, project, address) ?? throw NotFound(project, address);

    /// <summary>As <see cref="Resolve"/>; also one that is gone, since a watch may resume from before that.</summary>
    public static InstanceId ResolveForWatch(ClusterView view, string project, string address)
    {
        var violations = new FieldViolations();
        Check(address, violations);
        violations.ThrowIfAny();
        return Find(view, project, address)?.Id ?? FindTombstone(view, project, address)?.Id ?? throw NotFound(project, address);
    }

    public static Grpc.Core.RpcException NotFound(string project, string address) =>
        ApiErrors.NotFound("Instance", project, Printable.Quote(address));

    private static Grpc.Core.RpcException Ambiguous(string address, List<InstanceEntry> matches)
    {
        var named = string.Join(", ", matches.Take(MatchesNamed).Select(entry => $"{entry.Name} ({entry.Id})"));
        return ApiErrors.FailedPrecondition(
            "AMBIGUOUS_UID_PREFIX",
            $"'{address}' begins the uid of several instances: {named}{(matches.Count > MatchesNamed ? ", …" : "")}; give more characters.",
            "Instance",
            address);
    }
}
