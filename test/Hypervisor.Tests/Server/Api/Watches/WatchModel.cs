using Hypervisor.Protocol.V1;
using Xunit;

namespace Hypervisor.Tests.Server.Api.Watches;

/// <summary>A client that keeps what a watch told it, and notices gaps, repetitions and disorder.</summary>
internal sealed class WatchModel
{
    private readonly SortedDictionary<string, Instance> _objects = new(StringComparer.Ordinal);
    private long _sequence;

    public long Position { get; private set; }

    public IEnumerable<Instance> Objects => _objects.Values;

    public void Apply(WatchInstancesResponse response)
    {
        Assert.True(response.ResourceVersion >= Position, "The position went back.");
        if (response.Instance is { } instance)
        {
            var uid = instance.Metadata.Uid;
            var version = instance.Metadata.ResourceVersion;
            var known = _objects.GetValueOrDefault(uid);

            // After a resume a part of one revision may come again; it then says the same.
            var repeated = version <= _sequence && known?.Equals(instance) == true;
            Assert.True(Position == 0 || version > Position, "A change from before the position came again.");
            switch (response.Type)
            {
                case WatchEventType.Added:
                    Assert.True(known is null || repeated, "What was added was there already.");
                    _objects[uid] = instance;
                    break;
                case WatchEventType.Modified:
                    Assert.True(known is not null && (repeated || version > known.Metadata.ResourceVersion), "A modification of what was not there.");
                    _objects[uid] = instance;
                    break;
                case WatchEventType.Deleted:
                    Assert.True(known is not null || version <= _sequence, "What was deleted was not there.");
                    _objects.Remove(uid);
                    break;
                default:
                    Assert.Fail($"{response.Type} carries no object.");
                    break;
            }

            _sequence = Math.Max(_sequence, version);
        }

        Assert.NotEqual(WatchEventType.Resync, response.Type);
        Position = response.ResourceVersion;
    }
}
