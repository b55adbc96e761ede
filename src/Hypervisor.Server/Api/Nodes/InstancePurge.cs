using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Errors;
using Hypervisor.Server.Api.Instances;
using Hypervisor.Server.Nodes;
using Hypervisor.Server.State;
using Hypervisor.Server.Stores;

namespace Hypervisor.Server.Api.Nodes;

/// <summary>
/// PurgeInstance: the word of a person that an unclaimed copy may be destroyed. It is kept in the instance's tombstone, for this
/// node alone and up to the epoch that the node reported, so that it is carried out however long the node is away (NoGhostKill).
/// </summary>
internal sealed class InstancePurge(ViewReads reads, StoreWriter writer, TimeProvider time)
{
    /// <exception cref="Grpc.Core.RpcException">NOT_FOUND; FAILED_PRECONDITION for an instance that the control plane knows; ABORTED.</exception>
    public async Task<PurgeInstanceResponse> PurgeAsync(PurgeInstanceRequest request, CancellationToken cancellationToken)
    {
        UnclaimedReferences.Check(request.RequestId, request.Instance);
        var bare = request.Clone();
        bare.RequestId = "";
        var key = RequestKey.Of(request.RequestId, bare);
        var view = await reads.ViewAsync(Consistency.Linearizable, cancellationToken);
        for (var attempt = 1; attempt <= Limits.Control.WriteAttempts; attempt++)
        {
            var node = NodeReferences.Resolve(view, request.Node);
            if (Repeated(view, request.Instance, key) is { } tombstone)
            {
                return new() { Instance = Shown(tombstone) };
            }

            var copy = UnclaimedReferences.Resolve(node, request.Instance);
            var id = new InstanceId(copy.Uid);
            if (view.Instance(id) is { } known)
            {
                throw UnclaimedReferences.Known(known, $"To destroy it: hypervisor-ctl instance delete {known.Name}");
            }

            var present = view.Tombstone(id);
            var record = present?.Record.Clone() ?? new() { Project = copy.Project, Name = copy.Name, Type = copy.Type };
            var now = time.GetUtcNow();
            record.DeletedAt = now.ToTimestamp();

            // Half-made leftovers have no epoch, and no removal is up to none.
            record.Purges[node.Id.Value] = Math.Max(copy.Epoch, 1);
            key.Remember(record.Requests, now);

            // An instance of which a node has a copy has a placement for as long as it is known.
            var result = await writer.WriteAsync(
                new(
                    [Compare.Absent(Keys.Placement(id)), Compare.Modified(Keys.Tombstone(id), present?.ModRevision ?? 0)],
                    [new StoreOperation.Put(Keys.Tombstone(id), record.ToByteArray())]),
                cancellationToken);
            view = await reads.IncludingAsync(result.Revision, cancellationToken);
            if (result.Succeeded)
            {
                return new() { Instance = NodeView.Render(copy) };
            }
        }

        throw ApiErrors.Aborted("INSTANCE_CHANGING", $"Instance '{request.Instance}' kept changing; look again and decide anew.");
    }

    /// <summary>The node may have carried it out, and no longer lists it.</summary>
    private static TombstoneEntry? Repeated(ClusterView view, string reference, RequestKey key) => key.Id.Length == 0
        ? null
        : view.Tombstones.FirstOrDefault(tombstone =>
            UnclaimedReferences.Matches(reference, tombstone.Id.Value, tombstone.Record.Project, tombstone.Record.Name)
            && tombstone.Record.Requests.Any(seen => seen.RequestId == key.Id)
            && key.IsRepeated(tombstone.Record.Requests));

    private static UnclaimedInstance Shown(TombstoneEntry tombstone) => new()
    {
        Uid = tombstone.Id.Value,
        Name = tombstone.Record.Name,
        Project = tombstone.Record.Project,
        Type = tombstone.Record.Type,
    };
}
