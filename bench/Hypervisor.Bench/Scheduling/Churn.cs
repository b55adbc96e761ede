using Google.Protobuf;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.State;
using Hypervisor.Server.Stores;

namespace Hypervisor.Bench.Scheduling;

/// <summary>
/// What else happens while instances are placed: for ten of them that are placed one that was is deleted, and for a hundred one node is cordoned or
/// taken back. Durable as the placements are, through the same writer.
/// </summary>
internal sealed class Churn(ClusterState state, StoreWriter writer)
{
    private const int PlacedPerDelete = 10;
    private const int PlacedPerNodeChange = 100;

    private readonly Random _random = new(5);
    private readonly List<InstanceEntry> _placed = [];
    private readonly List<Task> _writes = [];

    /// <summary>Until cancelled.</summary>
    /// <exception cref="InvalidOperationException">It could not keep up.</exception>
    public async Task RunAsync(CancellationToken cancellationToken)
    {
        var (seen, nodes) = (0, state.View.Nodes.ToList());
        using var changes = state.Subscribe(state.View.Revision);
        try
        {
            while (true)
            {
                var read = await changes.ReadAsync(TimeSpan.FromSeconds(1), cancellationToken);
                if (read.Kind == FeedReadKind.Resync)
                {
                    throw new InvalidOperationException("The churn fell behind what is placed.");
                }

                if (read.Change is not { } change)
                {
                    continue;
                }

                foreach (var (old, current) in change.Instances)
                {
                    if (current?.NodeId is null || old?.NodeId is not null)
                    {
                        continue;
                    }

                    _placed.Add(current);
                    seen++;
                    if (seen % PlacedPerDelete == 0)
                    {
                        DeleteOne();
                    }

                    if (seen % PlacedPerNodeChange == 0)
                    {
                        ChangeOne(nodes[_random.Next(nodes.Count)]);
                    }
                }

                _writes.RemoveAll(write => write.IsCompletedSuccessfully);
            }
        }
        catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
        {
            await Task.WhenAll(_writes);
        }
    }

    private void DeleteOne()
    {
        var at = _random.Next(_placed.Count);
        var instance = _placed[at];
        (_placed[at], _placed[^1]) = (_placed[^1], _placed[at]);
        _placed.RemoveAt(_placed.Count - 1);
        _writes.Add(writer.WriteAsync(Server.Controllers.InstanceRemoval.Write(instance, DateTimeOffset.UnixEpoch, []), CancellationToken.None));
    }

    private void ChangeOne(NodeEntry node)
    {
        var spec = (state.View.Node(node.Id) ?? node).SpecRecord.Clone();
        spec.Spec = new() { Scheduling = spec.Spec.Scheduling == NodeScheduling.Cordoned ? NodeScheduling.Schedulable : NodeScheduling.Cordoned };
        _writes.Add(writer.WriteAsync(new([], [new StoreOperation.Put(Keys.NodeSpec(node.Id), spec.ToByteArray())]), CancellationToken.None));
    }
}
