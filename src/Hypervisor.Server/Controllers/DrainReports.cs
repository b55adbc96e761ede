using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Hypervisor.Server.State;
using Hypervisor.Server.Stores;
using Hypervisor.Server.Stores.Records;

namespace Hypervisor.Server.Controllers;

/// <summary>Writes down for users what holds a node's drain up. Only what is new is written.</summary>
internal sealed class DrainReports(ClusterState state, StoreWriter writer, TimeProvider time)
{
    /// <summary>Something is told of it, and may have to be taken back.</summary>
    public static bool IsTold(NodeEntry node) => node.DrainRecord is { Message.Length: > 0 };

    /// <param name="node">As of the look that found the obstacles.</param>
    /// <param name="message">Empty when nothing holds it up.</param>
    /// <returns>False when the node changed meanwhile; the view includes how.</returns>
    /// <exception cref="StoreUnavailableException">It may have been written.</exception>
    /// <exception cref="StoreBusyException">It was not.</exception>
    public async Task<bool> TellAsync(LeaderTerm term, NodeEntry node, string message, CancellationToken cancellationToken)
    {
        if (message == (node.DrainRecord?.Message ?? ""))
        {
            return true;
        }

        var record = new NodeDrainRecord { Message = message };
        if (message.Length > 0)
        {
            record.Since = IsTold(node) ? node.DrainRecord!.Since : time.GetUtcNow().ToTimestamp();
        }

        // Never deleted while the node is there: what is gone has no revision, and the node's version would go back with it.
        var result = await writer.WriteAsync(
            new(
                [
                    term.Guard,
                    Compare.Modified(Keys.NodeSpec(node.Id), node.SpecRevision),
                    Compare.Modified(Keys.NodeDrain(node.Id), node.DrainRevision),
                ],
                [new StoreOperation.Put(Keys.NodeDrain(node.Id), record.ToByteArray())]),
            cancellationToken);
        await state.WaitForRevisionAsync(result.Revision, cancellationToken);
        return result.Succeeded;
    }
}
