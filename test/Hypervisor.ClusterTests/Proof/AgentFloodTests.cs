using System.Net;
using System.Net.Sockets;
using Grpc.Core;
using Grpc.Net.Client;
using Hypervisor.ClusterTests.Faults;
using Hypervisor.TestCluster;
using Xunit;
using static Hypervisor.ClusterTests.Proof.RawHttp2;

namespace Hypervisor.ClusterTests.Proof;

/// <summary>
/// Protects: whoever reaches an agent's port without its credential gets no more than a bounded part of its memory and its log (MemoryBounded), and
/// the server's own calls are answered meanwhile.
/// </summary>
public sealed class AgentFloodTests
{
    /// <summary>The agent takes 30 MiB alone.</summary>
    private const long MemoryBound = 256L << 20;

    /// <summary>Characters: what strangers do is not told line by line.</summary>
    private const int LogBound = 32 << 10;

    private const string Call = "/hypervisor.v1.AgentService/OpenStream";

    private static readonly IPEndPoint Port = new(IPAddress.Loopback, 50052);

    private static readonly TimeSpan Flood = TimeSpan.FromSeconds(3);

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact(Timeout = 180_000)]
    public async Task Strangers_at_an_agents_port_cost_a_bounded_part_of_it()
    {
        await using var cluster = await LocalCluster.StartAsync();
        await cluster.ImportBusyboxAsync();
        await cluster.RunAsync("box", "sleep", "3600");
        var log = cluster.Agent.Log.Length;

        await ResetAsync(cluster);
        await AnswersAsync(cluster);
        await NestAsync(cluster);
        await AnswersAsync(cluster);
        await NeverSendAsync(cluster);
        await AnswersAsync(cluster);

        Assert.True(cluster.Agent.IsRunning, cluster.Agent.Log);
        Assert.InRange(PeakMemory(cluster.Agent.Id), 0, MemoryBound);
        Assert.True(cluster.Agent.Log.Length - log < LogBound, cluster.Agent.Log[^Math.Min(cluster.Agent.Log.Length, 2000)..]);
        await cluster.DeleteAsync("box");
    }

    private static Task AnswersAsync(LocalCluster cluster) => RealTime.UntilAsync(
        "the server reaches into the instance", TimeSpan.FromSeconds(30), async () => await cluster.ExecAsync("box", "true") is (0, _));

    /// <summary>CVE-2023-44487: one that is cut off is followed by another.</summary>
    private static async Task ResetAsync(LocalCluster cluster)
    {
        var headers = CallHeaders(Call);
        using var stop = new CancellationTokenSource(Flood, RealTime.Clock);
        await Task.WhenAll(Enumerable.Range(0, 4).Select(_ => Task.Run(async () =>
        {
            while (!stop.IsCancellationRequested)
            {
                try
                {
                    using var client = await BeginAsync(await cluster.ConnectAsync(Port), stop.Token);
                    var draining = client.DrainAsync(stop.Token);
                    for (var number = 0; !draining.IsCompleted; number++)
                    {
                        List<byte> burst = [];
                        for (var index = 0; index < 100; index++)
                        {
                            var stream = (number * 200) + (index * 2) + 1;
                            burst.AddRange([.. Frame(Headers, EndHeaders, stream, headers), .. Frame(ResetStream, 0, stream, [0, 0, 0, 8])]);
                        }

                        await client.SendAsync(burst.ToArray(), stop.Token);
                    }
                }
                catch (Exception exception) when (exception is SocketException or OperationCanceledException)
                {
                    // Cut off, or it is over.
                }
            }
        })));
    }

    /// <summary>Groups of an unknown field, each in the one before: whoever follows them without a bound overflows its stack.</summary>
    private static async Task NestAsync(LocalCluster cluster)
    {
        const int depth = 100_000;
        byte[] nested = [.. Enumerable.Repeat((byte)0x7b, depth), .. Enumerable.Repeat((byte)0x7c, depth)];
        var asItIs = Marshallers.Create(bytes => bytes, bytes => bytes);
        var method = new Method<byte[], byte[]>(MethodType.Unary, "hypervisor.v1.AgentService", "OpenStream", asItIs, asItIs);
        using var channel = GrpcChannel.ForAddress("http://agent", new GrpcChannelOptions
        {
            HttpHandler = new SocketsHttpHandler
            {
                ConnectCallback = async (_, _) => new NetworkStream(await cluster.ConnectAsync(Port), ownsSocket: true),
            },
            DisposeHttpClient = true,
        });
        var call = channel.CreateCallInvoker();
        for (var again = 0; again < 50; again++)
        {
            var refused = await Assert.ThrowsAsync<RpcException>(() =>
                call.AsyncUnaryCall(method, null, new CallOptions(deadline: LocalCluster.Deadline(30)), nested).ResponseAsync);
            Assert.NotEqual(StatusCode.Unavailable, refused.StatusCode);
        }
    }

    /// <summary>Of each message the length and one byte.</summary>
    private static async Task NeverSendAsync(LocalCluster cluster)
    {
        var clients = new List<RawHttp2>();
        try
        {
            for (var connection = 0; connection < 16; connection++)
            {
                var client = await BeginAsync(await cluster.ConnectAsync(Port), Cancel);
                clients.Add(client);
                for (var stream = 1; stream < 200; stream += 2)
                {
                    await client.SendAsync(Frame(Headers, EndHeaders, stream, CallHeaders(Call)), Cancel);
                    await client.SendAsync(Frame(Data, 0, stream, [0, 0, 0x40, 0, 0, 1]), Cancel);
                }
            }

            await AnswersAsync(cluster);
        }
        finally
        {
            clients.ForEach(client => client.Dispose());
        }
    }

    private static long PeakMemory(int process) => long.Parse(
        File.ReadLines($"/proc/{process}/status").Single(line => line.StartsWith("VmHWM:", StringComparison.Ordinal))
            .Split(' ', StringSplitOptions.RemoveEmptyEntries)[1],
        System.Globalization.CultureInfo.InvariantCulture) << 10;
}
