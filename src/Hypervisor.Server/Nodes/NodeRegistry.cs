using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Google.Rpc;
using Grpc.Core;
using Hypervisor.Hosting.Randomness;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Errors;
using Hypervisor.Server.Api.Validation;
using Hypervisor.Server.Configuration;
using Hypervisor.Server.State;
using Hypervisor.Server.Stores;
using Hypervisor.Server.Stores.Records;

namespace Hypervisor.Server.Nodes;

/// <summary>Which machines belong to the cluster: who they are, their secret, their piece of the network.</summary>
internal sealed partial class NodeRegistry(
    ViewReads reads,
    StoreWriter writer,
    IncarnationKeeper incarnations,
    HeartbeatTable beats,
    HeartbeatTerms terms,
    ServerNetworkConfiguration network,
    IRandomSource random,
    TimeProvider time,
    ILogger<NodeRegistry> logger)
{
    private readonly SubnetReservations _subnets = new(network);

    /// <summary>
    /// Takes a new machine in, or renews what a known one offers. Registering again without a change writes nothing.
    /// </summary>
    /// <remarks>
    /// An agent that never got the answer to its first registration has no credential, and one that never got the answer to
    /// its return after it was deregistered has an old one; both are known by the registration id that they chose.
    /// What a machine remembers above the store's own versions raises the incarnation, and with it every epoch in the cluster:
    /// that is taken from a node that has proved to be itself, never from one that introduces itself.
    /// </remarks>
    /// <exception cref="RpcException">
    /// INVALID_ARGUMENT; ALREADY_EXISTS when the name is taken and neither credential nor registration id is its own;
    /// RESOURCE_EXHAUSTED when the cluster's network has no piece left.
    /// </exception>
    public async Task<RegisterNodeResponse> RegisterAsync(RegisterNodeRequest request, CancellationToken cancellationToken)
    {
        Check(request);
        var (seenEpoch, seenVersion) = (new Epoch(request.HighestEpoch), new ResourceVersion(request.HighestResourceVersion));
        var view = await incarnations.CurrentAsync(cancellationToken);
        for (var attempt = 1; attempt <= Limits.Control.WriteAttempts; attempt++)
        {
            var known = view.NodeByName(request.Name);
            if (known is not null && !IsItself(known, request))
            {
                throw NameTaken(request.Name);
            }

            if (IncarnationKeeper.IsBehind(view, seenEpoch, seenVersion))
            {
                if (known is not null)
                {
                    // It has proved who it is. Looked up again afterwards: the node may have gone meanwhile.
                    view = await incarnations.CatchUpAsync(seenEpoch, seenVersion, cancellationToken);
                    continue;
                }

                LogUnprovenMemory(logger, request.Name, seenVersion.Value, view.ResourceVersion.Value);
            }

            var subnet = known is null ? TakeSubnet(view) : "";
            var (uid, write) = known is null ? Create(request, subnet) : (known.Id, Renew(known, request));
            if (write is not null)
            {
                WriteResult result;
                try
                {
                    result = await writer.WriteAsync(write, cancellationToken);
                    view = await reads.IncludingAsync(result.Revision, cancellationToken);
                }
                finally
                {
                    _subnets.Release(subnet);
                }

                if (!result.Succeeded)
                {
                    continue;
                }

                LogRegistered(logger, request.Name, uid, known is null ? "new" : "renewed");
            }

            if (view.Node(uid) is { } entry)
            {
                // An agent that registers is alive: it need not wait for its first beat to be Ready.
                beats.Record(uid, request.HighestResourceVersion);
                return Answer(entry);
            }
        }

        throw ApiErrors.Aborted("NODE_CHANGING", $"Node '{request.Name}' kept changing while it registered; register again.");
    }

    /// <summary>Removes a node that holds nothing, or, when the operator vouches that it is off, whatever it holds.</summary>
    /// <remarks>
    /// The node is cordoned first. A placement that was decided before compares the node's spec and fails; one decided later
    /// does not choose the node. So once the cordon shows in a view without instances, none can come; when one came before, the
    /// cordon is taken back, and the refused call has changed nothing. What a fenced node held
    /// is then without a node: the placement controller starts it elsewhere under a higher epoch, removes what was being
    /// deleted, and leaves instances with a local disk pending for good.
    /// </remarks>
    /// <param name="reference">Name, uid or unique uid prefix.</param>
    /// <exception cref="RpcException">NOT_FOUND; FAILED_PRECONDITION while it holds instances; ABORTED.</exception>
    public async Task DeregisterAsync(string reference, bool fenced, CancellationToken cancellationToken)
    {
        var view = await reads.ViewAsync(Consistency.Linearizable, cancellationToken);
        var uid = NodeReferences.Resolve(view, reference).Id;
        var cordonedAt = 0L;
        for (var attempt = 1; attempt <= Limits.Control.WriteAttempts; attempt++)
        {
            if (view.Node(uid) is not { } node)
            {
                return;
            }

            if (!fenced && node.InstanceUids.Count > 0)
            {
                await UncordonAsync(node, cordonedAt, cancellationToken);
                throw HoldsInstances(view, node);
            }

            var removing = fenced || node.Scheduling != NodeScheduling.Schedulable;
            var result = await writer.WriteAsync(removing ? Remove(node) : Schedule(node, NodeScheduling.Cordoned), cancellationToken);
            view = await reads.IncludingAsync(result.Revision, cancellationToken);
            if (removing && result.Succeeded)
            {
                beats.Forget(uid);
                LogDeregistered(logger, node.Name, uid, node.InstanceUids.Count);
                return;
            }

            cordonedAt = result.Succeeded ? result.Revision : cordonedAt;
        }

        if (view.Node(uid) is { } left)
        {
            await UncordonAsync(left, cordonedAt, cancellationToken);
        }

        throw ApiErrors.Aborted("NODE_CHANGING", $"Node '{reference}' kept changing while it was removed; try again.");
    }

    /// <summary>Takes back the cordon written at this revision; one that somebody else has touched since is theirs.</summary>
    private async Task UncordonAsync(NodeEntry node, long cordonedAt, CancellationToken cancellationToken)
    {
        if (cordonedAt == 0 || node.SpecRevision != cordonedAt)
        {
            return;
        }

        var result = await writer.WriteAsync(Schedule(node, NodeScheduling.Schedulable), cancellationToken);
        await reads.IncludingAsync(result.Revision, cancellationToken);
    }

    /// <exception cref="RpcException">RESOURCE_EXHAUSTED</exception>
    private string TakeSubnet(ClusterView view) => _subnets.Take(view) ?? throw ApiErrors.Error(
        Code.ResourceExhausted,
        $"All /{network.NodePrefixLength} networks of {network.NodeSubnets} are handed out; remove nodes (hypervisor-ctl node delete NAME) or enlarge network.node_subnets.");

    private (NodeId Uid, StoreWrite Write) Create(RegisterNodeRequest request, string subnet)
    {
        var uid = new NodeId(random.NewUid());
        var spec = new NodeSpecRecord
        {
            Metadata = new() { Name = request.Name, Uid = uid.Value, Generation = 1, CreatedAt = time.GetUtcNow().ToTimestamp() },
            Spec = new() { Scheduling = NodeScheduling.Schedulable },
        };
        var registration = new NodeRegistrationRecord
        {
            Inventory = request.Inventory,
            Credential = random.NewSecret(),
            Subnet = subnet,
            RegistrationId = request.RegistrationId,
        };
        registration.Labels.Add(request.Labels);
        var hold = new NodeHoldRecord { NodeUid = uid.Value }.ToByteArray();
        return (uid, new(
            [Compare.Absent(Keys.NodeName(request.Name)), Compare.Absent(Keys.NodeSubnet(subnet))],
            [
                new StoreOperation.Put(Keys.NodeSpec(uid), spec.ToByteArray()),
                new StoreOperation.Put(Keys.NodeRegistration(uid), registration.ToByteArray()),
                new StoreOperation.Put(Keys.NodeName(request.Name), hold),
                new StoreOperation.Put(Keys.NodeSubnet(subnet), hold),
            ]));
    }

    private static bool IsItself(NodeEntry known, RegisterNodeRequest request)
    {
        var byCredential = NodeCredentials.Match(known.RegistrationRecord?.Credential, request.Credential);
        var byRegistration = NodeCredentials.Match(known.RegistrationRecord?.RegistrationId, request.RegistrationId);
        return byCredential | byRegistration;
    }

    private static StoreWrite? Renew(NodeEntry node, RegisterNodeRequest request)
    {
        var registration = node.RegistrationRecord!.Clone();
        registration.Inventory = request.Inventory;
        registration.Labels.Clear();
        registration.Labels.Add(request.Labels);
        return registration.Equals(node.RegistrationRecord)
            ? null
            : new(
                [Compare.Modified(Keys.NodeRegistration(node.Id), node.RegistrationRevision)],
                [new StoreOperation.Put(Keys.NodeRegistration(node.Id), registration.ToByteArray())]);
    }

    private static StoreWrite Schedule(NodeEntry node, NodeScheduling scheduling)
    {
        var spec = node.SpecRecord.Clone();
        spec.Spec ??= new();
        spec.Spec.Scheduling = scheduling;
        spec.Metadata.Generation++;
        return new(
            [Compare.Modified(Keys.NodeSpec(node.Id), node.SpecRevision)],
            [new StoreOperation.Put(Keys.NodeSpec(node.Id), spec.ToByteArray())]);
    }

    private static StoreWrite Remove(NodeEntry node) => new(
        [Compare.Modified(Keys.NodeSpec(node.Id), node.SpecRevision)],
        [
            new StoreOperation.Delete(Keys.NodeSpec(node.Id)),
            new StoreOperation.Delete(Keys.NodeRegistration(node.Id)),
            new StoreOperation.Delete(Keys.NodeHealth(node.Id)),
            new StoreOperation.Delete(Keys.NodeDrain(node.Id)),
            new StoreOperation.Delete(Keys.NodeName(node.Name)),
            .. node.RegistrationRecord is { Subnet.Length: > 0 } registration
                ? [new StoreOperation.Delete(Keys.NodeSubnet(registration.Subnet))]
                : Array.Empty<StoreOperation>(),
        ]);

    private RegisterNodeResponse Answer(NodeEntry entry) => new()
    {
        Node = NodeView.Render(entry),
        Credential = entry.RegistrationRecord!.Credential,
        LeaseDuration = Duration.FromTimeSpan(terms.Lease),
        HeartbeatInterval = Duration.FromTimeSpan(terms.Interval),
    };

    private static void Check(RegisterNodeRequest request)
    {
        var violations = new FieldViolations();
        if (!LabelSyntax.IsDnsLabel(request.Name))
        {
            violations.Add("name", $"'{Printable.Quote(request.Name)}' is not an RFC 1123 label (1-63 characters a-z, 0-9 and '-'); set 'hostname' in the agent's configuration");
        }

        LabelRules.Check(request.Labels, "labels", violations);
        NodeInventoryRules.Check(request.Inventory, violations);
        if (request.HighestEpoch < 0)
        {
            violations.Add("highest_epoch", "cannot be negative");
        }

        if (request.HighestResourceVersion < 0)
        {
            violations.Add("highest_resource_version", "cannot be negative");
        }

        if (request.RegistrationId.Length > Limits.Agents.RegistrationIdCharacters)
        {
            violations.Add("registration_id", $"has {request.RegistrationId.Length} characters; at most {Limits.Agents.RegistrationIdCharacters}");
        }

        violations.ThrowIfAny();
    }

    private static RpcException NameTaken(string name) => ApiErrors.AlreadyExists(
        "Node", name,
        $"Node '{name}' is registered with another credential. If this is another machine, give it another hostname; if it replaces " +
        $"that machine or lost its data directory, remove the old one first: hypervisor-ctl node delete {name}");

    private static RpcException HoldsInstances(ClusterView view, NodeEntry node)
    {
        const int Shown = 5;
        var names = string.Join(", ", view.InstancesOn(node).Take(Shown).Select(instance => $"{instance.Project}/{instance.Name}"));
        var more = node.InstanceUids.Count > Shown ? $" and {node.InstanceUids.Count - Shown} more" : "";
        return ApiErrors.FailedPrecondition(
            "NODE_HOLDS_INSTANCES",
            $"Node '{node.Name}' holds {names}{more}. Delete them first; if the machine is off for certain: hypervisor-ctl node delete {node.Name} --fenced",
            "Node", node.Name);
    }

    [LoggerMessage(Level = LogLevel.Information, Message = "Node {Node} ({Uid}) registered: {What}")]
    private static partial void LogRegistered(ILogger logger, string node, NodeId uid, string what);

    [LoggerMessage(Level = LogLevel.Warning, Message = "New node {Node} remembers version {Seen}, above this store's {Held}: it was of another cluster, or the store was restored. Its registration does not raise the incarnation")]
    private static partial void LogUnprovenMemory(ILogger logger, string node, long seen, long held);

    [LoggerMessage(Level = LogLevel.Information, Message = "Node {Node} ({Uid}) deregistered; it held {Instances} instances")]
    private static partial void LogDeregistered(ILogger logger, string node, NodeId uid, int instances);
}
