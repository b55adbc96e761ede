using System.Diagnostics;
using System.Globalization;
using Google.Protobuf.WellKnownTypes;
using Grpc.Core;
using Grpc.Net.Client;
using Hypervisor.Protocol.V1;
using Hypervisor.TestCluster;

namespace Hypervisor.Bench;

/// <summary>
/// 100 changes, each of one instance's labels, to 1,000 watches of the whole project in the full view. They are held by this process,
/// beside the server on the same processors, a hundred per connection. A delivery's time is counted from when the writer sends its
/// call, so the commit itself is in it; the time from the commit's acknowledgement is printed beside it. A delivery that is
/// missing, doubled, out of order or of anything else fails the benchmark.
/// </summary>
internal static class WatchBench
{
    private const int Instances = 100;
    private const int Streams = 1000;
    private const int StreamsPerConnection = 100;
    private const int Warmups = 50;
    private const int Changes = 100;
    private const string Label = "change";

    /// <summary>One change's deliveries are over before the next begins: what is measured is one fan-out, not a queue of them.</summary>
    private static readonly TimeSpan Between = TimeSpan.FromMilliseconds(100);

    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);

    public static async Task RunAsync()
    {
        await using var server = await BenchServer.StartAsync();
        await server.FillAsync(Instances);
        using var writer = server.Open();
        var channels = Enumerable.Range(0, Streams / StreamsPerConnection).Select(_ => server.Open()).ToList();
        await using var watchers = new Watchers(channels);
        await watchers.OpenAsync();
        Metric.Print("watch.streams", Streams, "streams");
        Metric.Print("watch.streams_per_connection", StreamsPerConnection, "streams");

        var client = new ComputeService.ComputeServiceClient(writer);
        var (sent, acknowledged) = (new long[Warmups + Changes], new long[Warmups + Changes]);
        var processor = 0d;
        for (var change = 0; change < Warmups + Changes; change++)
        {
            if (change == Warmups)
            {
                processor = server.ProcessorMilliseconds;
            }

            sent[change] = Stopwatch.GetTimestamp();
            await client.UpdateInstanceAsync(Update(change), deadline: LocalCluster.Deadline(30));
            acknowledged[change] = Stopwatch.GetTimestamp();
            await watchers.DeliveredAsync(change);
            await Task.Delay(Between, RealTime.Clock);
        }

        processor = server.ProcessorMilliseconds - processor;
        var received = watchers.Close();
        var fromSent = new List<double>(Streams * Changes);
        var fromAcknowledged = new List<double>(Streams * Changes);
        foreach (var times in received)
        {
            for (var change = Warmups; change < Warmups + Changes; change++)
            {
                fromSent.Add(Stopwatch.GetElapsedTime(sent[change], times[change]).TotalMilliseconds);
                fromAcknowledged.Add(Stopwatch.GetElapsedTime(acknowledged[change], times[change]).TotalMilliseconds);
            }
        }

        Metric.Print("watch.deliveries", fromSent.Count, "deliveries");
        Metric.Print("watch.fanout_p50_ms", Metric.Median(fromSent), "ms");
        Metric.Print("watch.fanout_p99_ms", Metric.Percentile(fromSent, 0.99), "ms");
        Metric.Print("watch.fanout_max_ms", fromSent.Max(), "ms");
        Metric.Print("watch.fanout_after_answer_p99_ms", Metric.Percentile(fromAcknowledged, 0.99), "ms");
        Metric.Print("watch.server_cpu_per_change_ms", processor / Changes, "ms");
    }

    private static UpdateInstanceRequest Update(int change) => new()
    {
        Instance = new Instance
        {
            Metadata = new ObjectMeta
            {
                Name = BenchServer.NameOf(change % Instances),
                Labels = { [Label] = change.ToString(CultureInfo.InvariantCulture) },
            },
        },
        UpdateMask = new FieldMask { Paths = { "metadata.labels" } },
    };

    /// <summary>Everybody who watches, and when each of them received what.</summary>
    private sealed class Watchers(List<GrpcChannel> channels) : IAsyncDisposable
    {
        private readonly CancellationTokenSource _stop = new();
        private readonly long[][] _received = [.. Enumerable.Range(0, Streams).Select(_ => new long[Warmups + Changes])];
        private readonly int[] _deliveries = new int[Warmups + Changes];
        private readonly TaskCompletionSource[] _complete = [.. Enumerable.Range(0, Warmups + Changes).Select(_ => NewSource())];

        private Task[] _streams = [];

        /// <summary>Until every one has the present state and waits for changes.</summary>
        public async Task OpenAsync()
        {
            var ready = Enumerable.Range(0, Streams).Select(_ => NewSource()).ToArray();
            _streams = [.. ready.Select((caughtUp, stream) => FollowAsync(stream, caughtUp))];
            await OrFailureAsync(Task.WhenAll(ready.Select(caughtUp => caughtUp.Task)), "every watch has the present state");
        }

        public Task DeliveredAsync(int change) => OrFailureAsync(_complete[change].Task, $"change {change} reaches {Streams} watches");

        /// <summary>When each stream received each change; nothing may have come besides.</summary>
        public long[][] Close()
        {
            if (_streams.FirstOrDefault(stream => stream.IsCompleted) is { } ended)
            {
                throw new InvalidOperationException("A watch ended by itself.", ended.Exception);
            }

            return _received;
        }

        public async ValueTask DisposeAsync()
        {
            await _stop.CancelAsync();
            await ((Task)Task.WhenAll(_streams)).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            channels.ForEach(channel => channel.Dispose());
            _stop.Dispose();
        }

        private static TaskCompletionSource NewSource() => new(TaskCreationOptions.RunContinuationsAsynchronously);

        /// <summary>A watch that fails says why, instead of leaving us waiting.</summary>
        private async Task OrFailureAsync(Task awaited, string what)
        {
            using var waiting = new CancellationTokenSource();
            var late = Task.Delay(Patience, RealTime.Clock, waiting.Token);
            var first = await Task.WhenAny([awaited, late, .. _streams]);
            await waiting.CancelAsync();
            if (first == late)
            {
                throw new TimeoutException($"{what}: not within {Patience.TotalSeconds} s; {_deliveries.Sum()} deliveries until now");
            }

            await first;
            if (first != awaited)
            {
                throw new InvalidOperationException($"{what}: a watch ended before");
            }
        }

        private async Task FollowAsync(int stream, TaskCompletionSource caughtUp)
        {
            var client = new ComputeService.ComputeServiceClient(channels[stream / StreamsPerConnection]);
            using var call = client.WatchInstances(new WatchInstancesRequest(), cancellationToken: _stop.Token);
            var (next, present) = (0, 0);
            await foreach (var message in call.ResponseStream.ReadAllAsync())
            {
                var now = Stopwatch.GetTimestamp();
                if (message.Type == WatchEventType.Bookmark)
                {
                    if (present != Instances)
                    {
                        throw new InvalidOperationException($"Watch {stream} began with {present} of {Instances} instances.");
                    }

                    caughtUp.TrySetResult();
                }
                else if (message.Type == WatchEventType.Added && present < Instances)
                {
                    present++;
                }
                else if (message.Type == WatchEventType.Modified
                    && message.Instance.Metadata.Labels.TryGetValue(Label, out var change)
                    && change == next.ToString(CultureInfo.InvariantCulture))
                {
                    _received[stream][next] = now;
                    if (Interlocked.Increment(ref _deliveries[next]) == Streams)
                    {
                        _complete[next].SetResult();
                    }

                    next++;
                }
                else
                {
                    throw new InvalidOperationException($"Watch {stream} awaits change {next} and received {message}.");
                }
            }
        }
    }
}
