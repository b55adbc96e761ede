using Google.Protobuf;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Encoded;
using Hypervisor.Server.State;
using InstanceView = Hypervisor.Server.State.InstanceView;

namespace Hypervisor.Server.Api.Watches;

/// <summary>
/// What watches of instances send. An event is encoded once for all streams that send it at about the same time: the last ones
/// are kept, and a stream that is further behind encodes its own.
/// </summary>
internal sealed class EventEncoder
{
    private readonly Lock _lock = new();
    private readonly Dictionary<Sent, EncodedEvent> _last = [];
    private readonly Queue<Sent> _order = [];

    public static WatchInstancesResponse Render(WatchItem<InstanceEntry> item, bool summary)
    {
        var response = new WatchInstancesResponse { Type = item.Type, ResourceVersion = item.Position.Value };
        if (item.Entry is { } entry)
        {
            response.Instance = summary ? InstanceView.RenderSummary(entry) : InstanceView.Render(entry);
            response.Instance.Metadata.ResourceVersion = item.ObjectVersion.Value;
        }

        return response;
    }

    public EncodedEvent Encode(WatchItem<InstanceEntry> item, bool summary)
    {
        // Present objects, bookmarks: every stream's come at another time.
        if (item.Entry is null || item.Position == ResourceVersion.None)
        {
            return new(Render(item, summary).ToByteArray());
        }

        var key = new Sent(item, summary);
        lock (_lock)
        {
            if (!_last.TryGetValue(key, out var encoded))
            {
                if (_order.Count == Limits.Api.EncodedEvents)
                {
                    _last.Remove(_order.Dequeue());
                }

                encoded = new(Render(item, summary).ToByteArray());
                _last.Add(key, encoded);
                _order.Enqueue(key);
            }

            return encoded;
        }
    }

    /// <summary>Entries are immutable and compared by reference: the same entry is the same content.</summary>
    private readonly record struct Sent(WatchItem<InstanceEntry> Item, bool Summary);
}
