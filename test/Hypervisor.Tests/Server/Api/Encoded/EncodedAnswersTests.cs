using System.Buffers;
using Grpc.Core;
using Hypervisor.Protocol.V1;
using Hypervisor.Tests.Server.State;
using Xunit;
using InstanceDetail = Hypervisor.Protocol.V1.InstanceView;

namespace Hypervisor.Tests.Server.Api.Encoded;

/// <summary>Protects: what is encoded once and sent to many is, byte for byte of meaning, what each would have been answered.</summary>
public sealed class EncodedAnswersTests
{
    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Theory(Timeout = 60_000)]
    [InlineData(InstanceDetail.Summary)]
    [InlineData(InstanceDetail.Full)]
    public async Task An_encoded_list_is_the_list_also_after_every_kind_of_change(InstanceDetail view)
    {
        await using var replica = await Replica.StartAsync();
        await replica.AddNodeAsync("n1", "alpha");
        var request = new ListInstancesRequest { Project = "-", View = view };
        await EqualAsync(replica, request);

        // Larger than a byte's length in the wire format, and than a block of the buffer that it is written to.
        var web = await replica.CreateAsync("web", more: create => create.Labels["app"] = "web");
        await replica.CreateAsync("large", more: create => create.Spec.Process = new() { Command = { new string('x', 3000), new string('y', 3000) } });
        await EqualAsync(replica, request);
        await replica.WriteAsync(Replica.Place(web.Metadata.Uid, "n1", 1));
        await EqualAsync(replica, request);
        await replica.WriteAsync(Replica.Report(web.Metadata.Uid, 1, InstanceState.Running));
        await EqualAsync(replica, request);
        await replica.WriteAsync(Replica.Health("n1", NodeLiveness.Down));
        await EqualAsync(replica, request);
        await replica.Instances.Deletion.DeleteAsync(new() { Instance = "web" }, Cancellation);
        await EqualAsync(replica, request);
        request.PageSize = 1;
        await EqualAsync(replica, request);
    }

    [Theory(Timeout = 60_000)]
    [InlineData(InstanceDetail.Summary)]
    [InlineData(InstanceDetail.Full)]
    public async Task Encoded_events_are_the_events_and_made_once_for_all_who_are_told_the_same(InstanceDetail view)
    {
        await using var replica = await Replica.StartAsync();
        await replica.AddNodeAsync("n1", "alpha");
        var start = replica.State.View.ResourceVersion.Value;
        var web = await replica.CreateAsync("web");
        await replica.WriteAsync(Replica.Place(web.Metadata.Uid, "n1", 1));
        await replica.WriteAsync(Replica.Report(web.Metadata.Uid, 1, InstanceState.Running));
        await replica.WriteAsync(Replica.Health("n1", NodeLiveness.Down));
        var request = new WatchInstancesRequest { ResourceVersion = start, View = view };
        var running = new WatchInstancesRequest { ResourceVersion = start, View = view, States = { InstanceState.Running } };

        // For one of them the same report adds the instance, for the other it changes it; and for one its end is in sight.
        foreach (var (each, count) in new[] { (request, 4), (running, 2) })
        {
            var rendered = await replica.Watches.InstancesAsync(each, Cancellation).Take(count).ToListAsync(Cancellation);
            var first = await replica.Watches.EncodedInstancesAsync(each, Cancellation).Take(count).ToListAsync(Cancellation);
            var second = await replica.Watches.EncodedInstancesAsync(each, Cancellation).Take(count).ToListAsync(Cancellation);

            Assert.Equal(rendered, first.Select(encoded => WatchInstancesResponse.Parser.ParseFrom(Written(encoded.Write))));
            Assert.All(first.Zip(second), pair => Assert.Same(pair.First, pair.Second));
        }
    }

    private static async Task EqualAsync(Replica replica, ListInstancesRequest request)
    {
        var encoded = await replica.Instances.Queries.ListEncodedAsync(request, Cancellation);

        Assert.Equal(
            await replica.Instances.Queries.ListAsync(request, Cancellation),
            ListInstancesResponse.Parser.ParseFrom(Written(encoded.Write)));
    }

    private static byte[] Written(Action<SerializationContext> write)
    {
        var context = new Context();
        write(context);
        Assert.True(context.Completed);
        Assert.Equal(context.Announced, context.Buffer.WrittenCount);
        return context.Buffer.WrittenSpan.ToArray();
    }

    private sealed class Context : SerializationContext
    {
        public ArrayBufferWriter<byte> Buffer { get; } = new();

        public int Announced { get; private set; }

        public bool Completed { get; private set; }

        public override void SetPayloadLength(int payloadLength) => Announced = payloadLength;

        public override IBufferWriter<byte> GetBufferWriter() => Buffer;

        public override void Complete() => Completed = true;
    }
}
