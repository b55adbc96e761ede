using Google.Protobuf;
using Google.Protobuf.Collections;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Errors;
using Hypervisor.Server.Api.Instances;
using Hypervisor.Server.Api.Validation;
using Hypervisor.Server.Nodes;
using Hypervisor.Server.State;
using Hypervisor.Server.Stores;
using Hypervisor.Server.Stores.Records;

namespace Hypervisor.Server.Api.Nodes;

/// <summary>UpdateNode: what operators decide about a node.</summary>
internal sealed class NodeUpdates(ViewReads reads, StoreWriter writer, TimeProvider time)
{
    private const string Labels = "metadata.labels";
    private const string Annotations = "metadata.annotations";
    private const string Scheduling = "spec.scheduling";
    private const string Taints = "spec.taints";
    private const string Overcommitted = "spec.overcommit";
    private const string Reserved = "spec.reserved";
    private const string Changeable = $"{Labels}, {Annotations}, {Scheduling}, {Taints}, {Overcommitted}, {Reserved}";

    /// <remarks>
    /// Labels are the operator's over the agent's: what equals the agent's own is not kept, and what only the agent sets
    /// cannot be removed here.
    /// </remarks>
    public async Task<Node> UpdateAsync(UpdateNodeRequest request, CancellationToken cancellationToken)
    {
        Check(request);
        var reference = request.Node.Metadata.Uid.Length > 0 ? request.Node.Metadata.Uid : request.Node.Metadata.Name;
        var bare = request.Clone();
        bare.RequestId = "";
        var key = RequestKey.Of(request.RequestId, bare);
        var view = await reads.ViewAsync(Consistency.Linearizable, cancellationToken);
        for (var attempt = 1; attempt <= Limits.Control.WriteAttempts; attempt++)
        {
            var node = NodeReferences.Resolve(view, reference, "node.metadata.name");
            if (key.IsRepeated(node.SpecRecord.Requests))
            {
                return NodeView.Render(node);
            }

            if (request.Node.Metadata.ResourceVersion is not 0 and var expected && expected != node.ResourceVersion.Value)
            {
                throw ApiErrors.VersionMismatch("Node", node.Name, expected, node.ResourceVersion);
            }

            var record = node.SpecRecord.Clone();
            Apply(request, record, node);
            if (record.Equals(node.SpecRecord))
            {
                return NodeView.Render(node);
            }

            record.Metadata.Generation++;
            key.Remember(record.Requests, time.GetUtcNow());
            var result = await writer.WriteAsync(
                new(
                    [Compare.Modified(Keys.NodeSpec(node.Id), node.SpecRevision)],
                    [new StoreOperation.Put(Keys.NodeSpec(node.Id), record.ToByteArray())]),
                cancellationToken);
            view = await reads.IncludingAsync(result.Revision, cancellationToken);
            if (result.Succeeded && view.Node(node.Id) is { } updated)
            {
                return NodeView.Render(updated);
            }
        }

        throw ApiErrors.Aborted("NODE_CHANGING", $"Node '{Printable.Quote(reference)}' kept changing; read it again and decide anew.");
    }

    private static void Check(UpdateNodeRequest request)
    {
        var violations = new FieldViolations();
        RequestChecks.CheckRequestId(request.RequestId, violations);
        if (request.Node?.Metadata is not { } metadata || (metadata.Name.Length == 0 && metadata.Uid.Length == 0))
        {
            violations.Add("node.metadata.name", "is missing; name the node by metadata.name or metadata.uid");
        }

        if (request.UpdateMask is not { Paths.Count: > 0 })
        {
            violations.Add("update_mask", $"is empty; name what to change: {Changeable}");
        }

        foreach (var path in request.UpdateMask?.Paths ?? [])
        {
            switch (path)
            {
                case Labels:
                    LabelRules.Check(request.Node?.Metadata?.Labels ?? [], "node.metadata.labels", violations);
                    break;
                case Annotations:
                    CheckAnnotations(request.Node?.Metadata?.Annotations ?? [], violations);
                    break;
                case Scheduling when request.Node?.Spec?.Scheduling is not { } scheduling
                    || scheduling == NodeScheduling.Unspecified || !System.Enum.IsDefined(scheduling):
                    violations.Add("node.spec.scheduling", "is missing or unknown; one of SCHEDULABLE, CORDONED, DRAINING, MAINTENANCE");
                    break;
                case Scheduling:
                    break;
                case Taints:
                    NodeSpecRules.CheckTaints(request.Node?.Spec?.Taints ?? [], "node.spec.taints", violations);
                    break;
                case Overcommitted:
                    NodeSpecRules.CheckOvercommit(request.Node?.Spec?.Overcommit, "node.spec.overcommit", violations);
                    break;
                case Reserved:
                    NodeSpecRules.CheckReserved(request.Node?.Spec?.Reserved, "node.spec.reserved", violations);
                    break;
                default:
                    violations.Add("update_mask", $"'{Printable.Quote(path)}' cannot be changed; only {Changeable} can");
                    break;
            }
        }

        violations.ThrowIfAny();
    }

    private static void CheckAnnotations(MapField<string, string> annotations, FieldViolations violations)
    {
        var bytes = annotations.Sum(annotation => annotation.Key.Length + annotation.Value.Length);
        if (annotations.Count > Limits.Agents.Labels || bytes > Limits.Agents.AnnotationCharacters)
        {
            violations.Add(
                "node.metadata.annotations",
                $"has {annotations.Count} entries of {bytes} characters; at most {Limits.Agents.Labels} of {Limits.Agents.AnnotationCharacters}");
        }

        foreach (var key in annotations.Keys.Order(StringComparer.Ordinal))
        {
            if (LabelSyntax.KeyProblem(key) is { } problem)
            {
                violations.Add($"node.metadata.annotations[{Printable.Quote(key)}]", $"the key {problem}");
            }
        }
    }

    private static void Apply(UpdateNodeRequest request, NodeSpecRecord record, NodeEntry node)
    {
        foreach (var path in request.UpdateMask.Paths)
        {
            switch (path)
            {
                case Labels:
                    var agents = node.RegistrationRecord?.Labels ?? [];
                    record.Metadata.Labels.Clear();
                    record.Metadata.Labels.Add(request.Node.Metadata!.Labels
                        .Where(label => !agents.TryGetValue(label.Key, out var value) || value != label.Value)
                        .ToDictionary());
                    break;
                case Annotations:
                    record.Metadata.Annotations.Clear();
                    record.Metadata.Annotations.Add(request.Node.Metadata.Annotations);
                    break;
                case Scheduling:
                    record.Spec ??= new();
                    record.Spec.Scheduling = request.Node.Spec!.Scheduling;
                    break;
                case Taints:
                    record.Spec ??= new();
                    record.Spec.Taints.Clear();
                    record.Spec.Taints.AddRange(request.Node.Spec?.Taints ?? []);
                    break;
                case Overcommitted:
                    record.Spec ??= new();
                    record.Spec.Overcommit = request.Node.Spec?.Overcommit;
                    break;
                case Reserved:
                    record.Spec ??= new();
                    record.Spec.Reserved = request.Node.Spec?.Reserved;
                    break;
            }
        }
    }
}
