using System.Globalization;
using System.Net;
using System.Net.Http.Headers;
using System.Net.Sockets;
using System.Net.WebSockets;
using System.Text;
using System.Text.Json;
using Google.Api;
using Grpc.Core;
using Hypervisor.ClusterTests.Faults;
using Hypervisor.Protocol.V1;
using Hypervisor.TestCluster;
using Xunit;

namespace Hypervisor.ClusterTests.Rest;

/// <summary>Protects: the shipped server's REST shows what the shipped command line shows, and what it changes happens to real processes.</summary>
[Trait(StoreTrait.Name, StoreTrait.Either)]
public sealed class RestTests(RestTests.Fixture fixture) : IClassFixture<RestTests.Fixture>
{
    private LocalCluster Cluster => fixture.Cluster;

    /// <summary>By the method that answers both.</summary>
    private static readonly Dictionary<string, (string Path, string Command)> _reads = new()
    {
        ["GetClusterInfo"] = ("/v1/cluster", "cluster info"),
        ["ListNodes"] = ("/v1/nodes", "node list"),
        ["GetNode"] = ("/v1/nodes/n1", "node get n1"),
        ["ListEvents"] = ("/v1/events?project=default", "events"),
        ["ListInstances"] = ("/v1/projects/default/instances", "instance list"),
        ["GetInstance"] = ("/v1/projects/default/instances/steady", "instance get steady"),
        ["ExplainInstance"] = ("/v1/projects/default/instances/steady:explain", "instance why steady"),
        ["GetInstanceStats"] = ("/v1/projects/default/instances/steady:stats", "instance stats steady"),
        ["ListSnapshots"] = ("/v1/projects/default/instances/steady/snapshots", "instance snapshot list steady"),
        ["ListImages"] = ("/v1/projects/default/images", "image list"),
        ["GetImage"] = ("/v1/projects/default/images/busybox", "image inspect busybox"),
    };

    public static TheoryData<string> Reads { get; } = new(_reads.Keys);

    [Fact]
    public void Every_unary_read_is_compared() => Assert.Equal(
        ClusterReflection.Descriptor.Services.Concat(ComputeReflection.Descriptor.Services).SelectMany(service => service.Methods)
            .Where(method => !method.IsServerStreaming && !method.IsClientStreaming && method.GetOptions()?.GetExtension(AnnotationsExtensions.Http)?.Get.Length > 0)
            .Select(method => method.Name).Order(StringComparer.Ordinal),
        _reads.Keys.Order(StringComparer.Ordinal));

    [Theory]
    [MemberData(nameof(Reads))]
    public async Task Rest_and_the_command_line_show_the_same(string method)
    {
        var (path, line) = _reads[method];
        var command = line.Split(' ');

        // Heartbeats and events move the store's revision on between two questions: compare what was asked at one revision.
        var (rest, shown) = ("", " ");
        await RealTime.UntilAsync($"{path} equals {string.Join(' ', command)}", TimeSpan.FromSeconds(20), async () =>
        {
            rest = WithoutSpace(await fixture.Http.GetStringAsync(new Uri(path, UriKind.Relative)));
            shown = WithoutSpace(await Shell.RunAsync(
                "nsenter", [$"--net={Cluster.NetworkNamespace}", "--", $"{LocalCluster.Binaries}/hypervisor-ctl", .. command, "-o", "json"]));

            // Each sample is of its own moment: only what is told of it can be the same.
            return method == "GetInstanceStats" ? Names(rest) == Names(shown) : rest == shown;
        });

        Assert.DoesNotContain("\"resourceVersion\":1", rest, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Limits_change_while_the_process_runs_and_what_needs_a_restart_is_refused_until_allowed()
    {
        await PostAsync("/v1/projects/default/instances", Create("limited", 256));
        var running = await Cluster.InstanceAsync("limited", "runs", instance => instance.Status.State == InstanceState.Running);
        var process = MainProcess(running.Metadata.Uid);

        await SendAsync(HttpMethod.Patch, "/v1/projects/default/instances/limited", """
            {"instance":{"spec":{"resources":{"cpuMillicores":"250","memoryBytes":"100663296"},"security":{"pidsLimit":"55"}}},
             "updateMask":"spec.resources.cpuMillicores,spec.resources.memoryBytes,spec.security.pidsLimit"}
            """, HttpStatusCode.OK);
        await RealTime.UntilAsync("the kernel has the new limits", TimeSpan.FromSeconds(20), () =>
            Cgroup(running.Metadata.Uid, "memory", "memory.limit_in_bytes", "memory.max") == "100663296"
            && Cgroup(running.Metadata.Uid, "pids", "pids.max", "pids.max") == "55"
            && Cgroup(running.Metadata.Uid, "cpu", "cpu.cfs_quota_us", "cpu.max").StartsWith("25000", StringComparison.Ordinal));
        Assert.Equal(process, MainProcess(running.Metadata.Uid));
        await Cluster.InstanceAsync("limited", "has reached the generation", instance => instance.Status.ObservedGeneration == instance.Metadata.Generation);

        const string Restarting = """{"instance":{"spec":{"process":{"command":["sleep","7200"]}}},"updateMask":"spec.process.command"}""";
        var refused = await SendAsync(HttpMethod.Patch, "/v1/projects/default/instances/limited", Restarting, HttpStatusCode.BadRequest);
        Assert.Contains("spec.process.command", refused, StringComparison.Ordinal);
        await SendAsync(
            HttpMethod.Patch, "/v1/projects/default/instances/limited", Restarting.Replace("{\"instance\"", "{\"allowRestart\":true,\"instance\"", StringComparison.Ordinal), HttpStatusCode.OK);
        await RealTime.UntilAsync("another process runs", TimeSpan.FromSeconds(30), () => MainProcess(running.Metadata.Uid) is { } now && now != process);
        await Cluster.InstanceAsync("limited", "runs again", instance =>
            instance.Status.State == InstanceState.Running && instance.Status.ObservedGeneration == instance.Metadata.Generation);
        Assert.Equal("55", Cgroup(running.Metadata.Uid, "pids", "pids.max", "pids.max"));
        await SendAsync(HttpMethod.Delete, "/v1/projects/default/instances/limited", null, HttpStatusCode.OK);
    }

    [Fact]
    public async Task What_happened_to_an_instance_is_told_and_watched()
    {
        using var watch = await fixture.Http.GetAsync(new Uri("/v1/events:watch", UriKind.Relative), HttpCompletionOption.ResponseHeadersRead);
        using var lines = new StreamReader(await watch.Content.ReadAsStreamAsync());
        await PostAsync("/v1/projects/default/instances", Create("told", 16 << 20));
        await Cluster.InstanceAsync("told", "is pending", instance => instance.Status.State == InstanceState.Pending);
        await PostAsync("/v1/projects/default/instances", Create("ends", 64, "exit 3"));

        await RealTime.UntilAsync("the events are told", TimeSpan.FromSeconds(20), async () =>
        {
            var events = await Cluster.Nodes.ListEventsAsync(new ListEventsRequest(), deadline: LocalCluster.Deadline(5));
            return Reasons(events, "ends").IsSupersetOf(["Created", "ExitCode"]) && Reasons(events, "told").Count >= 2
                && Reasons(events, "n1").Contains("NodeReady");
        });
        var seen = new StringBuilder();
        while (!seen.ToString().Contains("\"ExitCode\"", StringComparison.Ordinal))
        {
            seen.AppendLine(await lines.ReadLineAsync().WaitAsync(TimeSpan.FromSeconds(20), RealTime.Clock));
        }

        await SendAsync(HttpMethod.Delete, "/v1/projects/default/instances/told", null, HttpStatusCode.OK);
        await SendAsync(HttpMethod.Delete, "/v1/projects/default/instances/ends", null, HttpStatusCode.OK);
    }

    [Theory]
    [InlineData("server", "hypervisor_rpc_duration_seconds_count{code=\"OK\",method=\"/hypervisor.v1.ClusterService/ListNodes\",transport=\"rest\"} ")]
    [InlineData("server", "hypervisor_rpc_duration_seconds_count{code=\"OK\",method=\"/hypervisor.v1.ClusterService/ListNodes\",transport=\"grpc\"} ")]
    [InlineData("server", "hypervisor_store_commit_duration_seconds_count ")]
    [InlineData("server", "hypervisor_store_commit_writes_bucket{le=\"1\"} ")]
    [InlineData("server", "hypervisor_store_queued_writes 0")]
    [InlineData("server", "hypervisor_state_age_seconds 0")]
    [InlineData("server", "hypervisor_reconcile_duration_seconds_count{controller=\"node-health\"} ")]
    [InlineData("server", "hypervisor_instances{state=\"Running\"} ")]
    [InlineData("server", "hypervisor_nodes{liveness=\"Ready\"} 1")]
    [InlineData("server", "hypervisor_agents_connected 1")]
    [InlineData("server", "hypervisor_leader 1")]
    [InlineData("agent", "hypervisor_agent_driver_call_duration_seconds_count{driver=\"containerd\",call=\"list\",outcome=\"ok\"} ")]
    [InlineData("agent", "hypervisor_agent_instances ")]
    [InlineData("agent", "hypervisor_agent_streams ")]
    public async Task The_metrics_tell_what_a_real_server_and_its_agent_do(string program, string line)
    {
        await fixture.Http.GetStringAsync(new Uri("/v1/nodes", UriKind.Relative));
        await Cluster.Nodes.ListNodesAsync(new ListNodesRequest(), deadline: LocalCluster.Deadline(10));

        // A view is confirmed every second: at that moment its age is a moment's.
        var metrics = "";
        await RealTime.UntilAsync($"{program} tells {line}", TimeSpan.FromSeconds(20), async () =>
            (metrics = await fixture.Http.GetStringAsync(new Uri(program == "agent" ? "http://agent/metrics" : "/metrics", UriKind.RelativeOrAbsolute)))
                .Contains($"\n{line}", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("rest", "2af7651916cd43dd8448eb211c80319e")]
    [InlineData("grpc", "3bf7651916cd43dd8448eb211c80319f")]
    public async Task One_trace_leads_from_the_call_to_the_drivers_call_and_the_agent_counts_it(string transport, string trace)
    {
        var (name, parent) = ($"traced-{transport}", $"00-{trace}-b7ad6b7169203331-01");
        if (transport == "grpc")
        {
            var request = new CreateInstanceRequest
            {
                Name = name,
                Spec = new InstanceSpec { Type = InstanceType.Container, Image = "busybox", Process = new ProcessSpec { Command = { "sleep", "1000" } } },
            };
            await Cluster.Compute.CreateInstanceAsync(request, new Metadata { { "traceparent", parent } }, LocalCluster.Deadline(10));
        }
        else
        {
            using var request = new HttpRequestMessage(HttpMethod.Post, "/v1/projects/default/instances")
            {
                Content = new StringContent(Create(name, 32), Encoding.UTF8, new MediaTypeHeaderValue("application/json")),
                Headers = { { "traceparent", parent } },
            };
            using var answer = await fixture.Http.SendAsync(request);
            Assert.Equal(HttpStatusCode.OK, answer.StatusCode);
        }

        var uid = (await Cluster.InstanceAsync(name, "runs", instance => instance.Status.State == InstanceState.Running)).Metadata.Uid;

        await RealTime.UntilAsync("the agent's log tells of the start", TimeSpan.FromSeconds(20), () => Cluster.Agent.Log.Split('\n').Any(line =>
            line.StartsWith('{') && line.Contains(trace, StringComparison.Ordinal) && line.Contains($"containerd start of {uid}: ok", StringComparison.Ordinal)));
        var metrics = await fixture.Http.GetStringAsync(new Uri("http://agent/metrics"));
        Assert.Contains("hypervisor_agent_driver_call_duration_seconds_count{driver=\"containerd\",call=\"start\",outcome=\"ok\"} ", metrics, StringComparison.Ordinal);
        await SendAsync(HttpMethod.Delete, $"/v1/projects/default/instances/{name}", null, HttpStatusCode.OK);
    }

    /// <summary>As gRPC's: a message per line in protobuf's JSON, bytes as base64, and an error as the last line.</summary>
    [Fact]
    public async Task Streams_that_end_tell_all_there_is_and_how_they_ended()
    {
        await PostAsync("/v1/projects/default/instances", Create("talks", 32, "echo one; echo two; exec sleep 3600"));
        await RealTime.UntilAsync("it has talked", TimeSpan.FromSeconds(30), async () => (await Cluster.ExecAsync("talks", "true"))?.Code == 0);
        Assert.Equal("one\ntwo\n", string.Concat((await LinesAsync("instances/talks:logs"))
            .SelectMany(message => message.GetProperty("lines").EnumerateArray())
            .Select(line => Encoding.UTF8.GetString(line.GetProperty("text").GetBytesFromBase64()) + "\n")));

        Assert.Equal((0, ""), await Cluster.ExecAsync("talks", "sh", "-c", "head -c 100000 /dev/zero | tr '\\0' x > /tmp/file"));
        var parts = await LinesAsync("instances/talks:copyFrom?path=/tmp/file");
        Assert.Equal(new string('x', 100_000), string.Concat(parts
            .Select(part => part.TryGetProperty("data", out var data) ? Encoding.ASCII.GetString(data.GetBytesFromBase64()) : "")));

        var failed = await LinesAsync("images:pull", """{"image":"127.0.0.1:1/nothing:1"}""");
        Assert.Equal((int)StatusCode.FailedPrecondition, failed[^1].GetProperty("error").GetProperty("code").GetInt32());
        await SendAsync(HttpMethod.Delete, "/v1/projects/default/instances/talks", null, HttpStatusCode.OK);
    }

    private async Task<List<JsonElement>> LinesAsync(string target, string? body = null)
    {
        using var request = new HttpRequestMessage(body is null ? HttpMethod.Get : HttpMethod.Post, $"/v1/projects/default/{target}")
        {
            Content = body is null ? null : new StringContent(body, Encoding.UTF8, new MediaTypeHeaderValue("application/json")),
        };
        using var answer = await fixture.Http.SendAsync(request);
        var text = await answer.Content.ReadAsStringAsync();
        Assert.True(answer.Content.Headers.ContentType?.MediaType == "application/x-ndjson", text);
        return [.. text.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(line => JsonSerializer.Deserialize<JsonElement>(line))];
    }

    [Fact]
    public async Task A_browser_runs_a_command_in_a_real_instance()
    {
        using var socket = await OpenAsync("steady:exec?command=sh&command=-c&command=stty%20size%3B%20read%20x%3B%20stty%20size%3B%20cat%3B%20exit%209"
            + "&terminal=true&attachStdin=true&columns=80&rows=24");
        await UntilAsync(socket, "\u000124 80");
        await SendTextAsync(socket, """{"resize":{"columns":132,"rows":50}}""");
        await SendInputAsync(socket, "\n");
        await UntilAsync(socket, "50 132");
        await SendInputAsync(socket, "\u0004");
        await UntilAsync(socket, """{ "exit": { "code": 9 } }""");
        await UntilAsync(socket, "closed 1000");

        using var piped = await OpenAsync("steady:exec?command=sh&command=-c&command=cat%3B%20echo%20end%20%3E%262&attachStdin=true");
        await SendInputAsync(piped, "piped");
        await UntilAsync(piped, "\u0001piped");
        await SendTextAsync(piped, """{"closeStdin":true}""");
        await UntilAsync(piped, "\u0002end\n");
        await UntilAsync(piped, """{ "exit": { } }""");
    }

    [Fact]
    public async Task A_browser_that_leaves_takes_its_command_with_it_and_a_foreign_page_gets_none()
    {
        var running = await Cluster.InstanceAsync("steady", "runs", instance => instance.Status.State == InstanceState.Running);
        using var socket = await OpenAsync("steady:exec?command=sh&command=-c&command=echo%20ready%3B%20exec%20sleep%204711");
        await UntilAsync(socket, "\u0001ready\n");
        Assert.Equal(2, Processes(running.Metadata.Uid));
        socket.Abort();
        await RealTime.UntilAsync("only the main process is left", TimeSpan.FromSeconds(20), () => Processes(running.Metadata.Uid) == 1);

        await Assert.ThrowsAsync<WebSocketException>(() => OpenAsync("steady:exec?command=true", "https://elsewhere.example"));
        using var greedy = await OpenAsync("steady:exec?command=cat&attachStdin=true");
        await greedy.SendAsync(new byte[70_000], WebSocketMessageType.Binary, endOfMessage: true, CancellationToken.None);
        await UntilAsync(greedy, "closed 1009");
        await RealTime.UntilAsync("only the main process is left", TimeSpan.FromSeconds(20), () => Processes(running.Metadata.Uid) == 1);
    }

    private static Task SendTextAsync(ClientWebSocket socket, string text) =>
        socket.SendAsync(Encoding.UTF8.GetBytes(text), WebSocketMessageType.Text, endOfMessage: true, CancellationToken.None);

    private static Task SendInputAsync(ClientWebSocket socket, string text) =>
        socket.SendAsync(Encoding.UTF8.GetBytes("\0" + text), WebSocketMessageType.Binary, endOfMessage: true, CancellationToken.None);

    private static async Task UntilAsync(ClientWebSocket socket, string expected)
    {
        using var patience = new CancellationTokenSource(TimeSpan.FromSeconds(30), RealTime.Clock);
        var (seen, buffer) = (new StringBuilder(), new byte[128 * 1024]);
        while (!seen.ToString().Contains(expected, StringComparison.Ordinal))
        {
            Assert.False(patience.IsCancellationRequested, $"'{expected}' did not come: {seen}");
            var part = await socket.ReceiveAsync(buffer, patience.Token);
            seen.Append(part.MessageType == WebSocketMessageType.Close ? $"closed {(int)socket.CloseStatus!}" : Encoding.Latin1.GetString(buffer, 0, part.Count));
        }
    }

    private async Task<ClientWebSocket> OpenAsync(string target, string? origin = null)
    {
        var socket = new ClientWebSocket();
        socket.Options.AddSubProtocol("v1.stream.hypervisor");
        if (origin is not null)
        {
            socket.Options.SetRequestHeader("Origin", origin);
        }

        await socket.ConnectAsync(new Uri($"ws://server/v1/projects/default/instances/{target}"), fixture.Http, CancellationToken.None);
        return socket;
    }

    private int Processes(string uid) => File.ReadLines($"/sys/fs/cgroup/pids{Cluster.CgroupParent}/{uid}/cgroup.procs").Count();

    private static HashSet<string> Reasons(ListEventsResponse events, string name) =>
        [.. events.Events.Where(entry => entry.ObjectName == name).Select(entry => entry.Reason)];

    /// <summary>The document without what its fields say.</summary>
    private static string Names(string json)
    {
        using var document = JsonDocument.Parse(json);
        return NamesOf(document.RootElement);

        static string NamesOf(JsonElement value) => value.ValueKind == JsonValueKind.Object
            ? $"{{{string.Join(',', value.EnumerateObject().Select(field => field.Name + NamesOf(field.Value)))}}}"
            : "";
    }

    private static string WithoutSpace(string json)
    {
        using var document = JsonDocument.Parse(json);
        return JsonSerializer.Serialize(document.RootElement);
    }

    private static string Create(string name, long memoryMiB, string script = "exec sleep 3600") => JsonSerializer.Serialize(new
    {
        name,
        spec = new
        {
            type = "INSTANCE_TYPE_CONTAINER",
            image = "busybox",
            resources = new { cpuMillicores = "100", memoryBytes = (memoryMiB << 20).ToString(CultureInfo.InvariantCulture) },
            process = new { command = new[] { "sh", "-c", script } },
            stop = new { signal = "SIGKILL" },
        },
    });

    private string? MainProcess(string uid) => Directory.Exists($"/sys/fs/cgroup/pids{Cluster.CgroupParent}/{uid}")
        ? File.ReadLines($"/sys/fs/cgroup/pids{Cluster.CgroupParent}/{uid}/cgroup.procs").FirstOrDefault()
        : null;

    private string Cgroup(string uid, string controller, string legacy, string unified)
    {
        var old = $"/sys/fs/cgroup/{controller}{Cluster.CgroupParent}/{uid}/{legacy}";
        return File.ReadAllText(File.Exists(old) ? old : $"/sys/fs/cgroup{Cluster.CgroupParent}/{uid}/{unified}").Trim();
    }

    private Task<string> PostAsync(string path, string body) => SendAsync(HttpMethod.Post, path, body, HttpStatusCode.OK);

    private async Task<string> SendAsync(HttpMethod verb, string path, string? body, HttpStatusCode expected)
    {
        using var request = new HttpRequestMessage(verb, path)
        {
            Content = body is null ? null : new StringContent(body, Encoding.UTF8, new MediaTypeHeaderValue("application/json")),
        };
        using var answer = await fixture.Http.SendAsync(request);
        var text = await answer.Content.ReadAsStringAsync();
        Assert.True(answer.StatusCode == expected, $"{verb} {path}: {answer.StatusCode}: {text}");
        return text;
    }

    public sealed class Fixture : IAsyncLifetime
    {
        private const int AgentMetrics = 9952;

        internal LocalCluster Cluster { get; private set; } = null!;

        internal HttpClient Http { get; private set; } = null!;

        public async ValueTask InitializeAsync()
        {
            Cluster = await LocalCluster.StartAsync(new LocalClusterOptions { AgentYaml = $"metrics_addr: 127.0.0.1:{AgentMetrics}\nlog:\n  level: debug\n  format: json\n" });
            Http = new HttpClient(new SocketsHttpHandler
            {
                ConnectCallback = async (asked, _) => new NetworkStream(
                    await Cluster.ConnectAsync(new IPEndPoint(IPAddress.Loopback, asked.DnsEndPoint.Host == "agent" ? AgentMetrics : 8080)), ownsSocket: true),
            })
            {
                BaseAddress = new Uri("http://server"),
                Timeout = TimeSpan.FromSeconds(60),
            };
            await Cluster.ImportBusyboxAsync();
            await Cluster.Compute.CreateInstanceAsync(
                new CreateInstanceRequest
                {
                    Name = "steady",
                    Spec = new InstanceSpec
                    {
                        Type = InstanceType.Container,
                        Image = "busybox",
                        Resources = new Resources { CpuMillicores = 50, MemoryBytes = 64 << 20 },
                        Process = new ProcessSpec { Command = { "sleep", "3600" } },
                        Stop = new StopSpec { Signal = "SIGKILL" },
                    },
                },
                deadline: LocalCluster.Deadline(10));
            await Cluster.InstanceAsync("steady", "runs", instance => instance.Status.State == InstanceState.Running);
        }

        public async ValueTask DisposeAsync()
        {
            Http.Dispose();
            await Cluster.DisposeAsync();
        }
    }
}
