using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Errors;
using Hypervisor.Server.Api.Validation;
using Hypervisor.Server.State;

namespace Hypervisor.Server.Api.Nodes;

/// <summary>How users name one of a node's unclaimed instances: uid, unique uid prefix, "project/name" or name.</summary>
internal static class UnclaimedReferences
{
    public static void Check(string requestId, string reference)
    {
        var violations = new FieldViolations();
        RequestChecks.CheckRequestId(requestId, violations);
        if (reference.Length == 0)
        {
            violations.Add("instance", "is missing; give a uid, a unique uid prefix, \"project/name\" or a name");
        }

        violations.ThrowIfAny();
    }

    public static bool Matches(string reference, string uid, string project, string name) =>
        uid == reference
        || (name.Length > 0 && (name == reference || $"{project}/{name}" == reference))
        || (reference.Length >= Limits.Api.UidPrefixLength && uid.StartsWith(reference, StringComparison.Ordinal));

    /// <exception cref="Grpc.Core.RpcException">NOT_FOUND; FAILED_PRECONDITION when several match, or when it cannot be an instance of ours.</exception>
    public static UnclaimedInstance Resolve(NodeEntry node, string reference)
    {
        var unclaimed = node.RegistrationRecord?.Unclaimed ?? [];
        var matches = unclaimed.Where(copy => copy.Uid == reference).ToList();
        if (matches.Count == 0)
        {
            matches = [.. unclaimed.Where(copy => Matches(reference, copy.Uid, copy.Project, copy.Name)).Take(2)];
        }

        return matches switch
        {
            // What the agent calls a uid becomes part of keys here, and part of paths there.
            [var only] => Guid.TryParseExact(only.Uid, "D", out _)
                ? only
                : throw ApiErrors.FailedPrecondition(
                    "INVALID_RECORD", $"'{Printable.Quote(only.Uid)}' is no uid of an instance; remove it with the runtime's own tools.", "Instance", reference),
            [] => throw ApiErrors.Error(
                Google.Rpc.Code.NotFound,
                $"Node '{node.Name}' has no unclaimed instance '{Printable.Quote(reference)}'; see: hypervisor-ctl node get {node.Name}"),
            _ => throw ApiErrors.FailedPrecondition(
                "AMBIGUOUS_REFERENCE",
                $"'{Printable.Quote(reference)}' means {matches[0].Uid}, {matches[1].Uid} and perhaps more; give the uid.", "Instance", reference),
        };
    }

    public static Grpc.Core.RpcException Known(InstanceEntry instance, string remedy) => ApiErrors.FailedPrecondition(
        "INSTANCE_KNOWN",
        $"Instance {instance.Id} is not unclaimed: it is '{instance.Name}' of project '{instance.Project}'. {remedy}",
        "Instance", instance.Name);
}
