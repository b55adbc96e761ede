using System.Globalization;
using Grpc.Net.Client;
using Hypervisor.Protocol.V1;
using Hypervisor.TestCluster;

namespace Hypervisor.ClusterTests.Proof;

/// <summary>Shipped servers without any node, on addresses and in folders of their own, with one store.</summary>
internal sealed class Servers : IAsyncDisposable
{
    private static int _count;

    private readonly List<GrpcChannel> _channels = [];

    private Servers(string folder, EtcdCluster? etcd) => (Folder, Etcd) = (folder, etcd);

    public string Folder { get; }

    public EtcdCluster? Etcd { get; }

    public IReadOnlyList<RealProcess> Processes { get; private set; } = [];

    private List<string> Addresses { get; } = [];

    /// <param name="etcdMembers">0 is the embedded store, which takes one server.</param>
    public static async Task<Servers> StartAsync(int servers = 1, int etcdMembers = 0, string yaml = "")
    {
        var folder = Directory.CreateTempSubdirectory("hvt-proof-").FullName;
        var options = new EtcdOptions { Members = etcdMembers, Folder = $"{folder}/etcd" };
        var etcd = etcdMembers == 0 ? null : await EtcdCluster.StartAsync(options);
        var group = new Servers(folder, etcd);
        try
        {
            group.Processes = [.. Enumerable.Range(0, servers).Select(index => group.Server(index, yaml))];
            foreach (var process in group.Processes)
            {
                process.Start();
            }

            for (var index = 0; index < servers; index++)
            {
                await group.AnswersAsync(index);
            }

            return group;
        }
        catch (Exception exception)
        {
            var logs = group.Logs();
            await group.DisposeAsync();
            throw new InvalidOperationException($"The servers did not start: {exception.Message}\n{logs}", exception);
        }
    }

    public string HostOf(int index) => Addresses[index];

    public Uri HttpOf(int index) => new($"http://{Addresses[index]}:8080");

    /// <summary>With a port of its own: a server is called after its machine and its port.</summary>
    public Uri GrpcOf(int index) => new($"http://{Addresses[index]}:{50051 + index}");

    /// <summary>A new connection.</summary>
    public GrpcChannel Open(int index = 0)
    {
        var channel = GrpcChannel.ForAddress(GrpcOf(index), new GrpcChannelOptions
        {
            HttpHandler = new SocketsHttpHandler { EnableMultipleHttp2Connections = true },
            DisposeHttpClient = true,
            MaxReceiveMessageSize = 64 << 20,
            InitialReconnectBackoff = TimeSpan.FromMilliseconds(20),
            MaxReconnectBackoff = TimeSpan.FromMilliseconds(200),
        });
        lock (_channels)
        {
            _channels.Add(channel);
        }

        return channel;
    }

    public async Task AnswersAsync(int index)
    {
        var client = new ClusterService.ClusterServiceClient(Open(index));
        await RealTime.UntilAsync($"server {index + 1} answers", LocalCluster.ReadyTimeout, async () =>
        {
            if (!Processes[index].IsRunning)
            {
                throw new InvalidOperationException($"server {index + 1} ended");
            }

            await client.GetClusterInfoAsync(new GetClusterInfoRequest(), deadline: LocalCluster.Deadline(5));
            return true;
        });
    }

    /// <summary>Of one server, in bytes.</summary>
    public long ResidentMemory(int index = 0)
    {
        var line = File.ReadLines($"/proc/{Processes[index].Id}/status").First(line => line.StartsWith("VmRSS:", StringComparison.Ordinal));
        return long.Parse(line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[1], CultureInfo.InvariantCulture) * 1024;
    }

    public string DatabaseOf(int index) => $"{Folder}/server-{index + 1}/store.db";

    public string Logs() => string.Concat(Processes.Select(process => $"── {process.Name}\n{process.Log}\n")) + Etcd?.Logs();

    public async ValueTask DisposeAsync()
    {
        foreach (var channel in _channels)
        {
            channel.Dispose();
        }

        foreach (var process in Processes)
        {
            await process.DisposeAsync();
        }

        if (Etcd is not null)
        {
            await Etcd.DisposeAsync();
        }

        Directory.Delete(Folder, recursive: true);
    }

    private RealProcess Server(int index, string yaml)
    {
        // Of 127.0.0.0/8, by process id: ports stay free for a server that comes back.
        var process = Environment.ProcessId;
        var number = 1 + (Interlocked.Increment(ref _count) % 250);
        var address = string.Create(CultureInfo.InvariantCulture, $"127.{50 + (process / 256 % 50)}.{process % 256}.{number}");
        Addresses.Add(address);
        var name = $"server-{index + 1}";
        var etcd = Etcd is null ? "" : $"etcd:\n  endpoints: [{string.Join(", ", Etcd.Endpoints)}]\n";
        File.WriteAllText($"{Folder}/{name}.yaml", $"""
            data_dir: {Folder}/{name}
            grpc_addr: "{address}:{50051 + index}"
            http_addr: "{address}:8080"
            {etcd}{yaml}
            """);
        return new RealProcess(
            name, $"{LocalCluster.Binaries}/hypervisor-server", ["--config", $"{Folder}/{name}.yaml"], $"{Folder}/{name}.log");
    }
}
