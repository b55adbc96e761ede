using Google.Protobuf;
using Hypervisor.Server.Api.Errors;
using Hypervisor.Server.Api.Instances;
using Hypervisor.Server.Api.Validation;
using Hypervisor.Server.State;

namespace Hypervisor.Server.Api.Groups;

/// <summary>What every change of one group's desired state is told.</summary>
internal readonly record struct GroupTarget(string Project, string Group, RequestKey Key, long ResourceVersion)
{
    /// <summary>Checks what all mutations have in common.</summary>
    /// <param name="bare">A copy of the request without its request_id.</param>
    /// <param name="violations">With what else is wrong; thrown here.</param>
    /// <param name="field">Which field names the group.</param>
    public static GroupTarget Of(
        string project, string group, string requestId, long resourceVersion, IMessage bare, FieldViolations violations, string field = "group")
    {
        var resolved = Projects.Resolve(project, violations);
        GroupAddress.Check(group, violations, field);
        RequestChecks.CheckRequestId(requestId, violations);
        RequestChecks.CheckVersion(resourceVersion, violations);
        violations.ThrowIfAny();
        return new(resolved, group, RequestKey.Of(requestId, bare), resourceVersion);
    }

    /// <exception cref="Grpc.Core.RpcException">ABORTED when the caller decided on another version.</exception>
    public void CheckVersion(GroupEntry entry)
    {
        if (ResourceVersion != 0 && ResourceVersion != entry.ResourceVersion.Value)
        {
            throw ApiErrors.VersionMismatch(GroupEntry.Kind, entry.Name, ResourceVersion, entry.ResourceVersion);
        }
    }
}
