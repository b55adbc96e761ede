using System.Diagnostics;
using Google.Protobuf;
using Hypervisor.Protocol.V1;
using Hypervisor.TestCluster;

namespace Hypervisor.Bench;

/// <summary>
/// The API of a server that holds 10,000 placed and running instances, over gRPC on loopback, with the load generator on the same
/// processors: GetInstance, linearizable, as fast as 64 callers can ask; its latency at half of that rate, counted from when each call
/// was due; and the whole list in one page of summaries. The list as REST is printed beside it.
/// </summary>
internal static class ApiBench
{
    private const int Instances = 10_000;
    private const int Callers = 64;
    private const int Connections = 4;
    private const int Lists = 30;
    private const int Rounds = 3;

    private static readonly TimeSpan Round = TimeSpan.FromSeconds(5);

    public static async Task RunAsync()
    {
        await using var server = await BenchServer.StartAsync();
        await server.FillAsync(Instances);

        var channels = Enumerable.Range(0, Connections).Select(_ => server.Open()).ToList();
        try
        {
            var clients = channels.Select(channel => new ComputeService.ComputeServiceClient(channel)).ToList();
            await GetsAsync(clients);
            var rates = new List<double>();
            for (var round = 0; round < Rounds; round++)
            {
                rates.Add(await GetsAsync(clients));
            }

            var rate = Metric.Median(rates);
            Metric.Print("api.get_per_s", rate, "1/s");
            var latencies = await PacedAsync(clients, rate / 2);
            Metric.Print("api.get_p50_ms", Metric.Median(latencies), "ms");
            Metric.Print("api.get_p99_ms", Metric.Percentile(latencies, 0.99), "ms");

            var before = server.ProcessorMilliseconds;
            Metric.Print("api.list10k_ms", Metric.Median(await ListsAsync(clients[0])), "ms");
            Metric.Print("api.list10k_server_cpu_ms", (server.ProcessorMilliseconds - before) / Lists, "ms");
            Metric.Print("api.list10k_client_parse_ms", Metric.Median(await ParsesAsync(clients[0])), "ms");
            before = server.ProcessorMilliseconds;
            Metric.Print("api.rest_list10k_ms", Metric.Median(await RestListsAsync(server)), "ms");
            Metric.Print("api.rest_list10k_server_cpu_ms", (server.ProcessorMilliseconds - before) / Lists, "ms");
        }
        finally
        {
            channels.ForEach(channel => channel.Dispose());
        }
    }

    /// <summary>As many as go; answers the rate.</summary>
    private static async Task<double> GetsAsync(List<ComputeService.ComputeServiceClient> clients)
    {
        var done = 0L;
        var started = Stopwatch.GetTimestamp();
        await Task.WhenAll(Enumerable.Range(0, Callers).Select(caller => Task.Run(async () =>
        {
            var client = clients[caller % clients.Count];
            for (var call = caller; Stopwatch.GetElapsedTime(started) < Round; call += Callers)
            {
                await client.GetInstanceAsync(new GetInstanceRequest { Instance = BenchServer.NameOf(call % Instances) });
                Interlocked.Increment(ref done);
            }
        })));
        return done / Stopwatch.GetElapsedTime(started).TotalSeconds;
    }

    /// <summary>Calls that are due at even intervals whether or not earlier ones have been answered: milliseconds from due to answered.</summary>
    private static async Task<double[]> PacedAsync(List<ComputeService.ComputeServiceClient> clients, double rate)
    {
        var total = (int)(rate * Round.TotalSeconds);
        var latencies = new double[total];
        var calls = new List<Task>(total);
        var started = Stopwatch.GetTimestamp();
        for (var call = 0; call < total; call++)
        {
            var due = TimeSpan.FromSeconds(call / rate);
            if (due - Stopwatch.GetElapsedTime(started) is var early && early > TimeSpan.FromMilliseconds(1))
            {
                await Task.Delay(TimeSpan.FromMilliseconds(Math.Floor(early.TotalMilliseconds)), RealTime.Clock);
            }

            calls.Add(CallAsync(clients[call % clients.Count], call, due));
        }

        await Task.WhenAll(calls);
        return latencies;

        async Task CallAsync(ComputeService.ComputeServiceClient client, int call, TimeSpan due)
        {
            await client.GetInstanceAsync(new GetInstanceRequest { Instance = BenchServer.NameOf(call % Instances) });
            latencies[call] = Math.Max(0, (Stopwatch.GetElapsedTime(started) - due).TotalMilliseconds);
        }
    }

    private static async Task<List<double>> ListsAsync(ComputeService.ComputeServiceClient client)
    {
        var times = new List<double>();
        for (var list = 0; list < Lists; list++)
        {
            times.Add(await Metric.TimeAsync(async () =>
            {
                var answer = await client.ListInstancesAsync(new ListInstancesRequest { PageSize = Instances, View = InstanceView.Summary });
                if (answer.Instances.Count != Instances)
                {
                    throw new InvalidOperationException($"{answer.Instances.Count} of {Instances} instances were listed");
                }
            }));
        }

        return times;
    }

    /// <summary>What of a list's time is the client's own: making objects of the bytes that it received.</summary>
    private static async Task<List<double>> ParsesAsync(ComputeService.ComputeServiceClient client)
    {
        var answer = await client.ListInstancesAsync(new ListInstancesRequest { PageSize = Instances, View = InstanceView.Summary });
        var bytes = answer.ToByteArray();
        var times = new List<double>();
        for (var list = 0; list < Lists; list++)
        {
            times.Add(await Metric.TimeAsync(() => Task.FromResult(ListInstancesResponse.Parser.ParseFrom(bytes))));
        }

        return times;
    }

    private static async Task<List<double>> RestListsAsync(BenchServer server)
    {
        using var http = new HttpClient { BaseAddress = server.Http };
        var times = new List<double>();
        for (var list = 0; list < Lists; list++)
        {
            times.Add(await Metric.TimeAsync(async () =>
                await http.GetByteArrayAsync(new Uri($"/v1/projects/default/instances?pageSize={Instances}&view=INSTANCE_VIEW_SUMMARY", UriKind.Relative))));
        }

        return times;
    }
}
