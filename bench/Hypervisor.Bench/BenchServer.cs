using System.Globalization;
using System.Net;
using System.Net.Sockets;
using Grpc.Core;
using Grpc.Net.Client;
using Hypervisor.Protocol.V1;
using Hypervisor.TestCluster;

namespace Hypervisor.Bench;

/// <summary>The shipped server alone, on ports and in a folder of its own, with one node that only says that it is there.</summary>
internal sealed class BenchServer : IAsyncDisposable
{
    private const int PerCreate = 1000;
    private const int PerReport = 256;

    private readonly CancellationTokenSource _stop = new();
    private readonly string _folder;
    private readonly RealProcess _server;
    private Task _beating = Task.CompletedTask;

    private BenchServer(string folder, int port, int httpPort)
    {
        _folder = folder;
        Http = new Uri($"http://127.0.0.1:{httpPort.ToString(CultureInfo.InvariantCulture)}");
        Grpc = new Uri($"http://127.0.0.1:{port.ToString(CultureInfo.InvariantCulture)}");
        _server = new RealProcess("server", $"{LocalCluster.Binaries}/hypervisor-server", ["--config", $"{folder}/server.yaml"], $"{folder}/server.log");
    }

    public Uri Http { get; }

    public Uri Grpc { get; }

    public int ProcessId => _server.Id;

    /// <summary>What of its memory is its own, files that it shares with other processes apart.</summary>
    public long PrivateBytes => File.ReadLines($"/proc/{_server.Id.ToString(CultureInfo.InvariantCulture)}/status")
        .Where(line => line.StartsWith("RssAnon:", StringComparison.Ordinal))
        .Select(line => long.Parse(line[8..^2], NumberStyles.AllowLeadingWhite | NumberStyles.AllowTrailingWhite, CultureInfo.InvariantCulture) * 1024)
        .Single();

    /// <summary>What the server has used so far: tells more than the clock on a busy machine.</summary>
    public double ProcessorMilliseconds
    {
        get
        {
            using var process = System.Diagnostics.Process.GetProcessById(_server.Id);
            return process.TotalProcessorTime.TotalMilliseconds;
        }
    }

    public static string NameOf(int index) => string.Create(CultureInfo.InvariantCulture, $"instance-{index:D5}");

    /// <param name="configuration">Sections of its configuration besides addresses, folder and log.</param>
    public static async Task<BenchServer> StartAsync(string configuration = "")
    {
        var folder = Directory.CreateTempSubdirectory("hvt-api-").FullName;
        var (port, httpPort) = (FreePort(), FreePort());
        await File.WriteAllTextAsync($"{folder}/server.yaml", $"""
            data_dir: {folder}/data
            grpc_addr: "127.0.0.1:{port}"
            http_addr: "127.0.0.1:{httpPort}"
            log:
              level: warning
            {configuration}
            """);
        var server = new BenchServer(folder, port, httpPort);
        server._server.Start();
        using var channel = server.Open();
        await RealTime.UntilAsync("the server answers", TimeSpan.FromSeconds(30), async () =>
        {
            await new ClusterService.ClusterServiceClient(channel).GetClusterInfoAsync(new GetClusterInfoRequest(), deadline: LocalCluster.Deadline(5));
            return true;
        });
        return server;
    }

    public GrpcChannel Open() => GrpcChannel.ForAddress(
        Grpc, new GrpcChannelOptions { MaxReceiveMessageSize = 64 << 20 });

    /// <summary>Instances of a usual size, placed and reported as running.</summary>
    public async Task FillAsync(int count)
    {
        var channel = Open();
        var nodes = new ClusterService.ClusterServiceClient(channel);
        var compute = new ComputeService.ComputeServiceClient(channel);
        var assignments = new AssignmentService.AssignmentServiceClient(channel);
        var registered = await nodes.RegisterNodeAsync(new RegisterNodeRequest
        {
            Name = "bench",
            RegistrationId = "bench",
            Inventory = new NodeInventory
            {
                Hostname = "bench",
                AgentAddress = "127.0.0.1:1",
                Capacity = new Resources { CpuMillicores = 1000L * count, MemoryBytes = (1L << 30) * count, DiskBytes = 1L << 50 },
                Runtimes = { new RuntimeInfo { Type = InstanceType.Container, Driver = "bench", Version = "1", Available = true } },
            },
        });
        var (node, headers) = (registered.Node.Metadata.Uid, new Metadata { { "authorization", $"Bearer {registered.Credential}" } });
        _beating = BeatAsync(channel, nodes, node, headers);
        await RealTime.UntilAsync("the node is Ready", TimeSpan.FromSeconds(30), async () =>
            (await nodes.GetNodeAsync(new GetNodeRequest { Node = "bench" })).Status.Liveness == NodeLiveness.Ready);

        foreach (var part in Enumerable.Range(0, count).Chunk(PerCreate))
        {
            var request = new CreateInstancesRequest();
            request.Requests.Add(part.Select(index => new CreateInstanceRequest
            {
                Name = NameOf(index),
                Labels = { ["app"] = "web", ["tier"] = "front" },
                Spec = new InstanceSpec
                {
                    Type = InstanceType.Container,
                    Image = "busybox",
                    Resources = new Resources { CpuMillicores = 100, MemoryBytes = 64 << 20 },
                    Process = new ProcessSpec { Command = { "sleep", "3600" }, Env = { new EnvVar { Name = "MODE", Value = "production" } } },
                },
            }));
            var created = await compute.CreateInstancesAsync(request);
            foreach (var reports in created.Results.Select(result => result.Instance).Chunk(PerReport))
            {
                var report = new ReportStatusRequest { NodeUid = node };
                report.Reports.Add(reports.Select(instance => new StatusReport
                {
                    Uid = instance.Metadata.Uid,
                    Epoch = instance.Placement.Epoch,
                    Status = new InstanceStatus { State = InstanceState.Running, ObservedGeneration = 1, IpAddresses = { "10.128.0.2" } },
                }));
                await assignments.ReportStatusAsync(report, headers);
            }
        }

        var running = await nodes.GetClusterInfoAsync(new GetClusterInfoRequest());
        if (running.InstancesRunning != count)
        {
            throw new InvalidOperationException($"{running.InstancesRunning} of {count} instances run");
        }
    }

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        await _beating;
        await _server.DisposeAsync();
        _stop.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    private async Task BeatAsync(GrpcChannel channel, ClusterService.ClusterServiceClient nodes, string node, Metadata headers)
    {
        using (channel)
        {
            try
            {
                using var beats = nodes.Heartbeat(headers, cancellationToken: _stop.Token);
                for (var sequence = 1L; ; sequence++)
                {
                    await beats.RequestStream.WriteAsync(new HeartbeatRequest { NodeUid = node, Sequence = sequence }, _stop.Token);
                    await beats.ResponseStream.MoveNext(_stop.Token);
                    await Task.Delay(TimeSpan.FromMilliseconds(500), RealTime.Clock, _stop.Token);
                }
            }
            catch (Exception exception) when (_stop.IsCancellationRequested && exception is OperationCanceledException or RpcException)
            {
                // That is how it ends.
            }
        }
    }

    private static int FreePort()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        return ((IPEndPoint)listener.LocalEndpoint).Port;
    }
}
