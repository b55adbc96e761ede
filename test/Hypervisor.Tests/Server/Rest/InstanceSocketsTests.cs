using System.Net;
using System.Net.WebSockets;
using System.Text;
using Grpc.Core;
using Hypervisor.Protocol.V1;
using Xunit;

namespace Hypervisor.Tests.Server.Rest;

/// <summary>Protects: browsers reach into instances as gRPC clients do, only from pages that may, and nothing of theirs is held in memory.</summary>
public sealed class InstanceSocketsTests : IAsyncLifetime
{
    private const string Protocol = "v1.stream.hypervisor";

    private readonly CancellationTokenSource _deadline = CancellationTokenSource.CreateLinkedTokenSource(TestContext.Current.CancellationToken);
    private readonly EchoAgent _agent = new();
    private RunningServer _server = null!;
    private AsyncDuplexStreamingCall<HeartbeatRequest, HeartbeatResponse> _heartbeat = null!;
    private string _authority = "";

    private CancellationToken Token => _deadline.Token;

    public async ValueTask InitializeAsync()
    {
        _deadline.CancelAfter(TimeSpan.FromSeconds(60));
        await _agent.StartAsync(Token);
        _server = await RunningServer.StartAsync(
            Token, configuration => configuration with { AllowedOrigins = [new Uri("https://console.example")] });
        _authority = _server.HttpAddress.Authority;
        var cluster = new ClusterService.ClusterServiceClient(_server.Channel);
        var node = ControlPlane.Registration("node-a");
        node.Inventory.AgentAddress = _agent.Address;
        node.Inventory.Runtimes.Add(new RuntimeInfo { Type = InstanceType.Vm, Driver = "libvirt", Available = true });
        var registered = await cluster.RegisterNodeAsync(node, cancellationToken: Token);
        _heartbeat = cluster.Heartbeat(new Metadata { { "authorization", $"Bearer {registered.Credential}" } }, cancellationToken: Token);
        await _heartbeat.RequestStream.WriteAsync(new() { NodeUid = registered.Node.Metadata.Uid, Sequence = 1 }, Token);
        await _heartbeat.ResponseStream.MoveNext(Token);
        using var nodes = cluster.WatchNodes(new(), cancellationToken: Token);
        while (await nodes.ResponseStream.MoveNext(Token) && nodes.ResponseStream.Current.Node?.Status.Liveness != NodeLiveness.Ready)
        {
        }

        var compute = new ComputeService.ComputeServiceClient(_server.Channel);
        var box = await compute.CreateInstanceAsync(
            new() { Name = "box", Spec = new() { Type = InstanceType.Container, Image = "busybox", Resources = new() { MemoryBytes = 64 << 20 } } },
            cancellationToken: Token);
        Assert.Equal("node-a", box.Placement.Node);
    }

    public async ValueTask DisposeAsync()
    {
        _heartbeat.Dispose();
        await _server.DisposeAsync();
        await _agent.DisposeAsync();
        _deadline.Dispose();
    }

    [Fact]
    public async Task A_command_runs_with_its_streams_and_ends_with_its_exit()
    {
        using var socket = await OpenAsync("box:exec?command=sh&command=-c&command=cat&attachStdin=true&terminal=true&columns=80&rows=24&env=A%3Db%3Dc&user=app&workingDir=/tmp");
        await SendAsync(socket, "\0first");
        Assert.Equal("\u0001first", await ReceiveAsync(socket));
        await SendTextAsync(socket, """{"resize":{"columns":100,"rows":50}}""");
        Assert.Equal("\u0002100x50", await ReceiveAsync(socket));
        await SendTextAsync(socket, """{"closeStdin":true}""");
        Assert.Equal("""{ "exit": { "code": 7 } }""", await ReceiveAsync(socket));
        Assert.Equal("1000 ", await ReceiveAsync(socket));
        Assert.Equal(
            new ExecInput
            {
                Instance = "box",
                Project = "default",
                Command = { "sh", "-c", "cat" },
                AttachStdin = true,
                Terminal = true,
                User = "app",
                WorkingDir = "/tmp",
                Env = { new EnvVar { Name = "A", Value = "b=c" } },
                Resize = new TerminalSize { Columns = 80, Rows = 24 },
            },
            _agent.Asked);
    }

    [Fact]
    public async Task A_signal_ends_a_command_and_a_console_tells_what_was_lost()
    {
        using var exec = await OpenAsync("box:exec?command=sleep");
        await SendTextAsync(exec, """{"signal":15}""");
        Assert.Equal("""{ "exit": { "code": 143 } }""", await ReceiveAsync(exec));

        using var console = await OpenAsync("box:console");
        Assert.Equal("\u0001hello", await ReceiveAsync(console));
        Assert.Equal("""{ "lostBytes": "3" }""", await ReceiveAsync(console));
        await SendAsync(console, "\0typed");
        Assert.Equal("\u0002typed", await ReceiveAsync(console));
        await SendTextAsync(console, """{"closeStdin":true}""");
        Assert.Equal("1000 ", await ReceiveAsync(console));
    }

    [Fact]
    public async Task A_display_is_bytes_in_both_directions_for_whoever_has_its_token()
    {
        var compute = new ComputeService.ComputeServiceClient(_server.Channel);
        await compute.CreateInstanceAsync(
            new() { Name = "screen", Spec = new() { Type = InstanceType.Vm, Image = "debian", Resources = new() { MemoryBytes = 64 << 20 } } },
            cancellationToken: Token);
        var opened = await compute.OpenVncAsync(new() { Instance = "screen" }, cancellationToken: Token);
        Assert.StartsWith("Vnc-", opened.Token, StringComparison.Ordinal);

        using (var socket = await OpenAsync($"screen:vnc?token={opened.Token}"))
        {
            Assert.Equal("\u0001RFB", await ReceiveAsync(socket));
            await SendAsync(socket, "\0key");
            Assert.Equal("\u0001key", await ReceiveAsync(socket));
            await SendTextAsync(socket, """{"resize":{"columns":1,"rows":1}}""");
            Assert.Contains("channel 0", await ReceiveAsync(socket), StringComparison.Ordinal);
        }

        using var foreign = await OpenAsync("screen:vnc?token=Console-1");
        Assert.Contains("no token", await ReceiveAsync(foreign), StringComparison.Ordinal);
        using var without = await OpenAsync("screen:vnc");
        Assert.Contains("open the display first", await ReceiveAsync(without), StringComparison.Ordinal);
        var refused = await Assert.ThrowsAsync<RpcException>(() => compute.OpenVncAsync(new() { Instance = "box" }, cancellationToken: Token).ResponseAsync);
        Assert.Contains("attach to its console", refused.Status.Detail, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task Closing_and_breaking_off_kill_the_process(bool politely)
    {
        using var socket = await RunningAsync();
        if (politely)
        {
            await socket.CloseAsync(WebSocketCloseStatus.NormalClosure, "", Token);
            Assert.Equal(WebSocketCloseStatus.NormalClosure, socket.CloseStatus);
        }
        else
        {
            socket.Abort();
        }

        await _agent.Killed.WaitAsync(Token);
    }

    [Fact]
    public async Task A_client_that_does_not_read_holds_the_process_back()
    {
        using var socket = await OpenAsync("box:exec?command=flood");
        var before = -1;
        while (before != _agent.Written)
        {
            before = _agent.Written;
            await Task.Delay(TimeSpan.FromMilliseconds(500), RealClock.Instance, Token);
        }

        // Buffers of four sockets and two HTTP/2 windows, and not the 2 GB that the process would have written by now.
        Assert.InRange(before, 1, 64 * 16);
        for (var i = 0; i < before + 200; i++)
        {
            await ReceiveAsync(socket);
        }

        Assert.True(_agent.Written > before);
    }

    [Theory]
    [InlineData(65_537, "binary", "1009 A binary message of more than 65537 bytes; send less at once.")]
    [InlineData(1_025, "text", "1009 A text message of more than 1024 bytes; send less at once.")]
    public async Task A_message_that_is_too_long_ends_the_stream(int length, string kind, string close)
    {
        using var socket = await RunningAsync();
        await socket.SendAsync(new byte[length + 1], kind == "text" ? WebSocketMessageType.Text : WebSocketMessageType.Binary, true, Token);
        Assert.Contains("FRAME_TOO_LARGE", await ReceiveAsync(socket), StringComparison.Ordinal);
        Assert.Equal(close, await ReceiveAsync(socket));
        await _agent.Killed.WaitAsync(Token);
    }

    [Theory]
    [InlineData("\u0001no channel of clients", null)]
    [InlineData("", null)]
    [InlineData(null, "{")]
    [InlineData(null, """{"reszie":{}}""")]
    [InlineData(null, "[]")]
    public async Task A_message_that_means_nothing_ends_the_stream(string? binary, string? text)
    {
        using var socket = await RunningAsync();
        await (binary is not null ? SendAsync(socket, binary) : SendTextAsync(socket, text!));
        Assert.Contains("\"error\"", await ReceiveAsync(socket), StringComparison.Ordinal);
        Assert.StartsWith("4003 ", await ReceiveAsync(socket), StringComparison.Ordinal);
        await _agent.Killed.WaitAsync(Token);
    }

    [Theory]
    [InlineData("box:exec?command=sh&comand=x", HttpStatusCode.BadRequest)]
    [InlineData("box:exec?command=sh&terminal=maybe", HttpStatusCode.BadRequest)]
    [InlineData("box:exec?command=sh&env=novalue", HttpStatusCode.BadRequest)]
    [InlineData("box:exec?command=sh&columns=-1", HttpStatusCode.BadRequest)]
    [InlineData("box:exec", HttpStatusCode.BadRequest)]
    [InlineData("box:console?command=sh", HttpStatusCode.BadRequest)]
    [InlineData("nobody:exec?command=sh", HttpStatusCode.NotFound)]
    public async Task What_is_wrong_is_said_before_there_is_a_socket(string target, HttpStatusCode expected) =>
        Assert.Equal(expected, await RefusalAsync(target));

    [Theory]
    [InlineData("https://elsewhere.example")]
    [InlineData("http://console.example")]
    [InlineData("null")]
    [InlineData("http://127.0.0.1:1")]
    public async Task A_page_of_another_site_is_refused(string origin) =>
        Assert.Equal(HttpStatusCode.Forbidden, await RefusalAsync("box:exec?command=sh", origin));

    [Fact]
    public async Task A_name_that_leads_here_is_not_ours_unless_it_is_listed()
    {
        // What a page sees after its name was bound to our address.
        using var http = new HttpClient();
        using var request = new HttpRequestMessage(HttpMethod.Get, $"http://{_authority}/v1/nodes");
        request.Headers.Host = "rebound.example";
        request.Headers.Add("Origin", "http://rebound.example");
        using var refused = await http.SendAsync(request, Token);
        Assert.Equal(HttpStatusCode.Forbidden, refused.StatusCode);
    }

    [Theory]
    [InlineData("https://console.example")]
    [InlineData("own")]
    public async Task Pages_of_the_server_and_of_listed_origins_may(string origin)
    {
        using var socket = await OpenAsync("box:exec?command=sh", origin == "own" ? $"http://{_authority}" : origin);
        Assert.Equal(Protocol, socket.SubProtocol);
    }

    [Fact]
    public async Task Another_protocol_and_no_upgrade_are_told_what_is_spoken()
    {
        Assert.Equal(HttpStatusCode.BadRequest, await RefusalAsync("box:exec?command=sh", protocol: "v9.stream"));
        using var http = new HttpClient();
        using var plain = await http.GetAsync($"http://{_authority}/v1/projects/default/instances/box:exec?command=sh", Token);
        Assert.Equal(HttpStatusCode.UpgradeRequired, plain.StatusCode);
        using var post = await http.PostAsync($"http://{_authority}/v1/projects/default/instances/box:exec", null, Token);
        Assert.Equal(HttpStatusCode.MethodNotAllowed, post.StatusCode);
    }

    /// <summary>A command that the agent runs already.</summary>
    private async Task<ClientWebSocket> RunningAsync()
    {
        var socket = await OpenAsync("box:exec?command=sleep");
        await SendAsync(socket, "\0x");
        Assert.Equal("\u0001x", await ReceiveAsync(socket));
        return socket;
    }

    private async Task<ClientWebSocket> OpenAsync(string target, string? origin = null, string protocol = Protocol)
    {
        var socket = new ClientWebSocket();
        socket.Options.CollectHttpResponseDetails = true;
        socket.Options.AddSubProtocol(protocol);
        if (origin is not null)
        {
            socket.Options.SetRequestHeader("Origin", origin);
        }

        try
        {
            await socket.ConnectAsync(new Uri($"ws://{_authority}/v1/projects/default/instances/{target}"), Token);
            return socket;
        }
        catch (WebSocketException refused)
        {
            refused.Data["status"] = socket.HttpStatusCode;
            socket.Dispose();
            throw;
        }
    }

    private async Task<HttpStatusCode> RefusalAsync(string target, string? origin = null, string protocol = Protocol) =>
        (HttpStatusCode)(await Assert.ThrowsAsync<WebSocketException>(() => OpenAsync(target, origin, protocol))).Data["status"]!;

    private Task SendAsync(ClientWebSocket socket, string data) =>
        socket.SendAsync(Encoding.Latin1.GetBytes(data), WebSocketMessageType.Binary, true, Token);

    private Task SendTextAsync(ClientWebSocket socket, string text) =>
        socket.SendAsync(Encoding.UTF8.GetBytes(text), WebSocketMessageType.Text, true, Token);

    /// <summary>One message, or the close as "code reason".</summary>
    private async Task<string> ReceiveAsync(ClientWebSocket socket)
    {
        var buffer = new byte[128 * 1024];
        var length = 0;
        while (true)
        {
            var part = await socket.ReceiveAsync(buffer.AsMemory(length), Token);
            length += part.Count;
            if (part.MessageType == WebSocketMessageType.Close)
            {
                return $"{(int)socket.CloseStatus!} {socket.CloseStatusDescription}";
            }

            if (part.EndOfMessage)
            {
                return Encoding.Latin1.GetString(buffer, 0, length);
            }
        }
    }
}
