using Google.Protobuf;
using Hypervisor.Server.Api.Errors;
using Hypervisor.Server.Api.Validation;
using Hypervisor.Server.State;
using Hypervisor.Server.Stores;

namespace Hypervisor.Server.Api.Instances;

/// <summary>What every change of one instance's desired state is told.</summary>
internal readonly record struct MutationTarget(string Project, string Instance, RequestKey Key, long ResourceVersion)
{
    /// <summary>Checks what all mutations have in common.</summary>
    /// <param name="bare">A copy of the request without its request_id.</param>
    public static MutationTarget Of(string project, string instance, string requestId, long resourceVersion, IMessage bare)
    {
        var violations = new FieldViolations();
        var resolved = Projects.Resolve(project, violations);
        InstanceAddress.Check(instance, violations);
        RequestChecks.CheckRequestId(requestId, violations);
        RequestChecks.CheckVersion(resourceVersion, violations);
        violations.ThrowIfAny();
        return new(resolved, instance, RequestKey.Of(requestId, bare), resourceVersion);
    }

    /// <exception cref="Grpc.Core.RpcException">ABORTED when the caller decided on another version.</exception>
    public void CheckVersion(InstanceEntry entry)
    {
        if (ResourceVersion != 0 && ResourceVersion != entry.ResourceVersion.Value)
        {
            throw ApiErrors.VersionMismatch("Instance", entry.Name, ResourceVersion, entry.ResourceVersion);
        }
    }

    /// <summary>What must still be so when the write happens.</summary>
    public List<Compare> Compares(InstanceEntry entry)
    {
        var compares = new List<Compare> { Compare.Modified(entry.SpecKey, entry.SpecRevision) };
        if (ResourceVersion != 0)
        {
            compares.Add(Compare.Modified(Keys.Placement(entry.Id), entry.PlacementRevision));
            compares.Add(Compare.Modified(Keys.Status(entry.Id), entry.StatusRevision));
            if (entry.Node is { Exists: true } node)
            {
                compares.Add(Compare.Modified(Keys.NodeHealth(new(node.Uid)), node.HealthRevision));
            }
        }

        return compares;
    }

    public Exception Conflict() => ApiErrors.Aborted(
        "CONFLICT", $"Instance '{Instance}' is being changed by others all the time; try again.");
}
