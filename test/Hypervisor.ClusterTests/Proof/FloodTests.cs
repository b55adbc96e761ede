using System.Net;
using System.Net.Sockets;
using System.Text;
using Grpc.Core;
using Hypervisor.Protocol.V1;
using Hypervisor.TestCluster;
using Xunit;
using static Hypervisor.ClusterTests.Proof.RawHttp2;

namespace Hypervisor.ClusterTests.Proof;

/// <summary>
/// Protects: whoever misuses the ports of a server gets no more than a bounded part of its memory (MemoryBounded), and others are
/// served meanwhile.
/// </summary>
/// <remarks>All at one server: what one leaves behind counts for the next.</remarks>
[Collection(WholeMachine.Name)]
public sealed class FloodTests(FloodTests.OneServer fixture) : IClassFixture<FloodTests.OneServer>, IAsyncLifetime
{
    /// <summary>Of the whole server, which takes 85 MiB alone; 16 messages of the largest size fit into the difference.</summary>
    private const long MemoryBound = 512L << 20;

    /// <summary>Characters: what strangers do is not told line by line.</summary>
    private const int LogBound = 32 << 10;

    private const string Call = "/hypervisor.v1.ClusterService/GetClusterInfo";

    private static readonly TimeSpan Flood = TimeSpan.FromSeconds(3);

    private readonly Servers _servers = fixture.Servers;
    private Bystander _bystander = null!;

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    public async ValueTask InitializeAsync()
    {
        _bystander = new Bystander(_servers);
        await _bystander.ServedAsync(5);
    }

    public ValueTask DisposeAsync() => _bystander.DisposeAsync();

    /// <summary>CVE-2023-44487.</summary>
    [Fact(Timeout = 120_000)]
    public Task Streams_opened_and_reset_at_once_cost_nobody_else_anything() => FloodAsync(4, (number, client, stop) =>
    {
        var headers = CallHeaders(Call);
        List<byte> burst = [];
        for (var index = 0; index < 100; index++)
        {
            var stream = (number * 200) + (index * 2) + 1;
            burst.AddRange([.. Frame(Headers, EndHeaders, stream, headers), .. Frame(ResetStream, 0, stream, [0, 0, 0, 8])]);
        }

        return client.SendAsync(burst.ToArray(), stop);
    });

    /// <summary>CVE-2024-27316 and its like: a header block that never ends.</summary>
    [Fact(Timeout = 120_000)]
    public Task Headers_without_end_are_cut_off() => FloodAsync(4, (number, client, stop) =>
    {
        byte[] piece = [.. Enumerable.Range(0, 40).SelectMany(index => Literal($"x-{number}-{index}", new string('v', 200)))];
        var frame = number == 0 ? Frame(Headers, 0, 1, [.. CallHeaders(Call), .. piece]) : Frame(Continuation, 0, 1, piece);
        return client.SendAsync(frame, stop);
    });

    /// <summary>CVE-2019-9512 and 9515: answers that nobody reads.</summary>
    [Theory(Timeout = 120_000)]
    [InlineData(Ping)]
    [InlineData(Settings)]
    public Task Frames_that_demand_an_answer_which_nobody_reads_are_bounded(byte type)
    {
        var frame = Frame(type, 0, 0, type == Ping ? new byte[8] : []);
        byte[] burst = [.. Enumerable.Repeat(frame, 1000).SelectMany(each => each)];
        return FloodAsync(4, (_, client, stop) => client.SendAsync(burst, stop), drains: false);
    }

    [Fact(Timeout = 120_000)]
    public async Task Calls_whose_request_never_comes_are_cut_off()
    {
        var clients = new List<RawHttp2>();
        try
        {
            for (var connection = 0; connection < 16; connection++)
            {
                var client = await ConnectAsync(_servers.HostOf(0), Cancellation);
                clients.Add(client);
                for (var stream = 1; stream < 200; stream += 2)
                {
                    await client.SendAsync(Frame(Headers, EndHeaders, stream, CallHeaders(Call)), Cancellation);

                    // The prefix of a message of 4 MiB, and of it one byte.
                    await client.SendAsync(Frame(Data, 0, stream, [0, 0, 0x40, 0, 0, 1]), Cancellation);
                }
            }

            await _bystander.ServedAsync(20);
            await Task.WhenAll(clients.Select(async client =>
            {
                try
                {
                    await client.DrainAsync(Cancellation);
                }
                catch (SocketException)
                {
                    // Reset: ended as well.
                }
            })).WaitAsync(TimeSpan.FromSeconds(60), Cancellation);
            Judge();
        }
        finally
        {
            clients.ForEach(client => client.Dispose());
        }
    }

    [Fact(Timeout = 120_000)]
    public async Task Messages_above_the_limit_are_refused_and_not_taken_in()
    {
        var compute = new ComputeService.ComputeServiceClient(_servers.Open());
        var request = new CreateInstanceRequest { Name = "large", Spec = new InstanceSpec { Image = new string('x', 9 << 20) } };
        var refused = await Task.WhenAll(Enumerable.Range(0, 20).Select(_ => Assert.ThrowsAsync<RpcException>(
            () => compute.CreateInstanceAsync(request, deadline: LocalCluster.Deadline(60)).ResponseAsync)));
        Assert.All(refused, refusal => Assert.Equal(StatusCode.ResourceExhausted, refusal.StatusCode));

        // A prefix that promises 4 GiB is not believed.
        using var liar = await ConnectAsync(_servers.HostOf(0), Cancellation);
        await liar.SendAsync(Frame(Headers, EndHeaders, 1, CallHeaders(Call)), Cancellation);
        await liar.SendAsync(Frame(Data, 0, 1, [0, 0xff, 0xff, 0xff, 0xff, 1, 2, 3]), Cancellation);
        await _bystander.ServedAsync(20);
        Judge();
    }

    [Fact(Timeout = 120_000)]
    public async Task Bodies_above_the_limit_are_refused_and_not_taken_in()
    {
        using var http = new HttpClient { BaseAddress = _servers.HttpOf(0) };
        var create = new Uri("/v1/projects/default/instances", UriKind.Relative);
        var answers = await Task.WhenAll(Enumerable.Range(0, 10).Select(async _ =>
        {
            using var body = new ByteArrayContent(new byte[40 << 20]);
            body.Headers.ContentType = new("application/json");
            try
            {
                using var answer = await http.PostAsync(create, body, Cancellation);
                return answer.StatusCode;
            }
            catch (HttpRequestException)
            {
                // Cut off while it was still sending.
                return HttpStatusCode.RequestEntityTooLarge;
            }
        }));
        Assert.All(answers, code => Assert.Equal(HttpStatusCode.RequestEntityTooLarge, code));

        using var headers = new HttpRequestMessage(HttpMethod.Get, create);
        headers.Headers.Add("x-large", new string('h', 64 << 10));
        using var refused = await http.SendAsync(headers, Cancellation);
        Assert.Equal(HttpStatusCode.RequestHeaderFieldsTooLarge, refused.StatusCode);
        await _bystander.ServedAsync(10);
        Judge();
    }

    [Theory(Timeout = 120_000)]
    [InlineData("[", "]")]
    [InlineData("{\"spec\":", "}")]
    [InlineData("{\"unknown\":[", "]}")]
    public async Task Deeply_nested_JSON_is_refused(string open, string close)
    {
        using var http = new HttpClient { BaseAddress = _servers.HttpOf(0) };
        foreach (var depth in new[] { 70, 200_000 })
        {
            var text = string.Concat(Enumerable.Repeat(open, depth)) + "1" + string.Concat(Enumerable.Repeat(close, depth));
            using var body = new StringContent(text, Encoding.UTF8, "application/json");
            using var answer = await http.PostAsync(new Uri("/v1/projects/default/instances", UriKind.Relative), body, Cancellation);
            Assert.Equal(HttpStatusCode.BadRequest, answer.StatusCode);
        }

        await _bystander.ServedAsync(5);
        Judge();
    }

    /// <summary>Groups of an unknown field, each in the one before: whoever follows them without a bound overflows its stack.</summary>
    [Fact(Timeout = 120_000)]
    public async Task Deeply_nested_protobuf_is_refused()
    {
        const int depth = 100_000;
        byte[] nested = [.. Enumerable.Repeat((byte)0x7b, depth), .. Enumerable.Repeat((byte)0x7c, depth)];
        var asItIs = Marshallers.Create(bytes => bytes, bytes => bytes);
        var method = new Method<byte[], byte[]>(MethodType.Unary, "hypervisor.v1.ComputeService", "CreateInstance", asItIs, asItIs);
        var call = _servers.Open().CreateCallInvoker();
        for (var again = 0; again < 50; again++)
        {
            var refused = await Assert.ThrowsAsync<RpcException>(() =>
                call.AsyncUnaryCall(method, null, new CallOptions(deadline: LocalCluster.Deadline(30)), nested).ResponseAsync);
            Assert.NotEqual(StatusCode.Unavailable, refused.StatusCode);
        }

        var upload = new Method<byte[], byte[]>(MethodType.ClientStreaming, "hypervisor.v1.ComputeService", "ImportImage", asItIs, asItIs);
        for (var again = 0; again < 10; again++)
        {
            using var stream = call.AsyncClientStreamingCall(upload, null, new CallOptions(deadline: LocalCluster.Deadline(30)));
            await stream.RequestStream.WriteAsync(nested);
            var refused = await Assert.ThrowsAsync<RpcException>(() => stream.ResponseAsync);
            Assert.Equal(StatusCode.InvalidArgument, refused.StatusCode);
        }

        await _bystander.ServedAsync(5);
        Judge();
    }

    /// <summary>The bodies come a byte at a time, or not at all.</summary>
    [Fact(Timeout = 120_000)]
    public async Task Requests_that_never_end_are_cut_off_and_others_served()
    {
        var sockets = new List<Socket>();
        try
        {
            for (var index = 0; index < 500; index++)
            {
                var socket = new Socket(SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
                sockets.Add(socket);
                await socket.ConnectAsync(IPEndPoint.Parse($"{_servers.HostOf(0)}:8080"), Cancellation);
                var head = index % 2 == 0
                    ? "POST /v1/projects/default/instances HTTP/1.1\r\nHost: h\r\n"
                        + "Content-Type: application/json\r\nContent-Length: 1000000\r\n\r\n{"
                    : "GET /v1/projects/default/instances HTTP/1.1\r\nHost: h\r\nX-Slow: ";
                await socket.SendAsync(Encoding.ASCII.GetBytes(head), Cancellation);
            }

            await _bystander.ServedAsync(20);

            // A body has to come at 240 bytes a second, and gets five seconds to begin with.
            var bodies = sockets.Where((_, index) => index % 2 == 0);
            await Task.WhenAll(bodies.Select(EndedAsync)).WaitAsync(TimeSpan.FromSeconds(60), Cancellation);
            Judge();
        }
        finally
        {
            sockets.ForEach(socket => socket.Dispose());
        }
    }

    private static async Task EndedAsync(Socket socket)
    {
        var buffer = new byte[4096];
        try
        {
            while (await socket.ReceiveAsync(buffer, Cancellation) > 0)
            {
            }
        }
        catch (SocketException)
        {
            // Reset: ended as well.
        }
    }

    /// <summary>So many connections do the same again and again; one that is cut off is followed by another.</summary>
    /// <param name="turn">Number of the turn on its connection, counted from 0.</param>
    private async Task FloodAsync(int connections, Func<int, RawHttp2, CancellationToken, Task> turn, bool drains = true)
    {
        using var stop = new CancellationTokenSource(Flood, RealTime.Clock);
        await Task.WhenAll(Enumerable.Range(0, connections).Select(_ => Task.Run(async () =>
        {
            while (!stop.IsCancellationRequested)
            {
                try
                {
                    using var client = await ConnectAsync(_servers.HostOf(0), stop.Token);
                    var draining = drains ? client.DrainAsync(stop.Token) : Task.CompletedTask;
                    for (var number = 0; !draining.IsFaulted && (!drains || !draining.IsCompleted); number++)
                    {
                        await turn(number, client, stop.Token);
                    }

                    await draining;
                }
                catch (Exception exception) when (exception is SocketException or OperationCanceledException)
                {
                    // Cut off, or it is over.
                }
            }
        })));
        await _bystander.ServedAsync(5);
        Judge();
    }

    private void Judge()
    {
        TestContext.Current.TestOutputHelper?.WriteLine(_bystander.Summary);
        var log = _servers.Processes[0].Log;
        Assert.True(_servers.Processes[0].IsRunning, log);
        Assert.True(log.Length < LogBound, $"the log has {log.Length} characters; it ends with {log[^Math.Min(log.Length, 2000)..]}");
        Assert.InRange(_bystander.Peak, 0, MemoryBound);
    }

    public sealed class OneServer : IAsyncLifetime
    {
        internal Servers Servers { get; private set; } = null!;

        public async ValueTask InitializeAsync() => Servers = await Servers.StartAsync();

        public ValueTask DisposeAsync() => Servers.DisposeAsync();
    }
}
