using System.Globalization;

namespace Hypervisor.TestCluster;

/// <summary>What differs between test etcds.</summary>
internal sealed record EtcdOptions
{
    public int Members { get; init; } = 1;

    /// <summary>The network namespace they run in (a path); null is the tests' own.</summary>
    public string? NetworkNamespace { get; init; }

    /// <summary>The addresses of members that are reached over a network; null gives each one of 127.0.0.0/8.</summary>
    public IReadOnlyList<string>? Addresses { get; init; }

    /// <summary>null is etcd's own default.</summary>
    public long? QuotaBytes { get; init; }

    /// <summary>As docs/operations.md advises, which `make run` does too; otherwise etcd's own defaults.</summary>
    public bool AsAdvised { get; init; }

    public EtcdCertificates? Certificates { get; init; }

    /// <summary>null makes a scratch folder, which is removed afterwards.</summary>
    public string? Folder { get; init; }
}

/// <summary>Files of a certificate authority and of certificates that it signed.</summary>
internal sealed record EtcdCertificates(
    string Authority, string ServerCertificate, string ServerKey, string ClientCertificate, string ClientKey);

/// <summary>A real etcd of one or several members, each a process with a folder and a loopback address of its own.</summary>
internal sealed class EtcdCluster : IAsyncDisposable
{
    private static readonly TimeSpan ReadyTimeout = TimeSpan.FromSeconds(60);

    private static int _count;

    private readonly EtcdOptions _options;
    private readonly string[] _addresses;
    private readonly string[] _credentials;

    private EtcdCluster(EtcdOptions options)
    {
        _options = options;
        var number = Interlocked.Increment(ref _count);
        Folder = options.Folder ?? $"/tmp/hvt-etcd-{Environment.ProcessId:x}-{number:x}";
        _addresses = options.Addresses?.ToArray() ?? [.. Enumerable.Range(1, options.Members).Select(member => Loopback(number, member))];
        _credentials = options.Certificates is { } files
            ? [$"--cacert={files.Authority}", $"--cert={files.ClientCertificate}", $"--key={files.ClientKey}"]
            : [];
        Members = [.. _addresses.Select((_, index) => Member(index))];
    }

    public string Folder { get; }

    public IReadOnlyList<RealProcess> Members { get; }

    /// <summary>Of clients, one per member.</summary>
    public IReadOnlyList<Uri> Endpoints =>
        [.. _addresses.Select(address => new Uri($"{(_options.Certificates is null ? "http" : "https")}://{address}:2379"))];

    /// <summary>Every address that a first member in this process may get: certificates have to name it before it is chosen.</summary>
    public static IEnumerable<string> PossibleAddresses() =>
        Enumerable.Range(0, 250).Where(number => number % 5 == 0).Select(number => Loopback(number / 5, 1));

    /// <summary>Starts all members and waits until they serve.</summary>
    public static async Task<EtcdCluster> StartAsync(EtcdOptions? options = null)
    {
        var cluster = new EtcdCluster(options ?? new EtcdOptions());
        try
        {
            Directory.CreateDirectory(cluster.Folder);
            cluster.Start();
            await cluster.HealthyAsync();
            return cluster;
        }
        catch (Exception exception)
        {
            var logs = cluster.Logs();
            await cluster.DisposeAsync();
            throw new InvalidOperationException($"etcd did not start: {exception.Message}\n{logs}", exception);
        }
    }

    /// <summary>Every running member takes proposals.</summary>
    public Task HealthyAsync() => RealTime.UntilAsync("etcd is healthy", ReadyTimeout, async () =>
        (await TryControlAsync(["endpoint", "health", "--dial-timeout=1s", "--command-timeout=2s"])).ExitCode == 0);

    /// <summary>etcdctl against all members.</summary>
    /// <exception cref="InvalidOperationException">The exit code is not 0.</exception>
    public async Task<string> ControlAsync(params string[] arguments)
    {
        var (exitCode, output, error) = await TryControlAsync(arguments);
        return exitCode == 0
            ? output
            : throw new InvalidOperationException($"etcdctl {string.Join(' ', arguments)} ended with {exitCode}: {error}{output}");
    }

    /// <summary>The index of the member that leads.</summary>
    public async Task<int> LeaderAsync()
    {
        for (var index = 0; index < Members.Count; index++)
        {
            if (Members[index].IsRunning
                && (await StatusAsync(index)) is [_, var id, _, _, var leads, ..] && leads == "true" && id.Length > 0)
            {
                return index;
            }
        }

        throw new InvalidOperationException("etcd has no leader");
    }

    /// <summary>The member's id, in hexadecimal digits.</summary>
    public async Task<string> IdAsync(int member) => (await StatusAsync(member))[1];

    public void Start()
    {
        foreach (var member in Members)
        {
            member.Start();
        }
    }

    /// <summary>All members at once, as a power cut does.</summary>
    public Task KillAsync() => Task.WhenAll(Members.Select(member => member.KillAsync()));

    /// <summary>The members' disks are gone; none of them may be running.</summary>
    public void Forget()
    {
        foreach (var member in Members)
        {
            Directory.Delete($"{Folder}/{member.Name}", recursive: true);
        }
    }

    public string Logs() => string.Concat(Members.Select(member => $"── {member.Name}\n{member.Log}\n"));

    public async ValueTask DisposeAsync()
    {
        foreach (var member in Members)
        {
            await member.DisposeAsync();
        }

        if (Directory.Exists(Folder))
        {
            Directory.Delete(Folder, recursive: true);
        }
    }

    /// <summary>endpoint, id, version, size, is leader, …</summary>
    private async Task<string[]> StatusAsync(int member)
    {
        var (program, arguments) = Program(
            ["env", "ETCDCTL_API=3", "etcdctl", $"--endpoints={Endpoints[member]}", .. _credentials, "endpoint", "status"]);
        var output = await Shell.RunAsync(program, arguments);
        return [.. output.Split(',').Select(field => field.Trim())];
    }

    private Task<(int ExitCode, string Output, string Error)> TryControlAsync(string[] arguments)
    {
        var command = Program(
            ["env", "ETCDCTL_API=3", "etcdctl", $"--endpoints={string.Join(',', Endpoints)}", .. _credentials, .. arguments]);
        return Shell.TryRunAsync(command.Program, command.Arguments);
    }

    /// <summary>
    /// Addresses that no other test process uses: bound by process id, and not by a port that somebody else may take first.
    /// </summary>
    private static string Loopback(int number, int member) => string.Create(
        CultureInfo.InvariantCulture,
        $"127.{100 + (Environment.ProcessId / 256 % 128)}.{Environment.ProcessId % 256}.{(number * 5 % 250) + member}");

    private (string Program, string[] Arguments) Program(string[] command) => _options.NetworkNamespace is { } path
        ? ("nsenter", [$"--net={path}", "--", .. command])
        : (command[0], command[1..]);

    private RealProcess Member(int index)
    {
        var name = $"etcd-{index + 1}";
        var client = Endpoints[index].ToString().TrimEnd('/');
        List<string> arguments =
        [
            .. _options.AsAdvised ? (string[])["env", "GOGC=400", "etcd", "--backend-batch-limit", "1000"] : ["etcd"],
            "--name", name, "--data-dir", $"{Folder}/{name}", "--logger", "zap", "--log-outputs", "stderr",
            "--listen-client-urls", client, "--advertise-client-urls", client,
            "--listen-peer-urls", Peer(index), "--initial-advertise-peer-urls", Peer(index),
            "--initial-cluster", string.Join(',', _addresses.Select((_, member) => $"etcd-{member + 1}={Peer(member)}")),
            "--initial-cluster-state", "new",
        ];
        if (_options.QuotaBytes is { } quota)
        {
            arguments.AddRange(["--quota-backend-bytes", quota.ToString(CultureInfo.InvariantCulture)]);
        }

        if (_options.Certificates is { } files)
        {
            arguments.AddRange(["--cert-file", files.ServerCertificate, "--key-file", files.ServerKey]);
            arguments.AddRange(["--trusted-ca-file", files.Authority, "--client-cert-auth"]);
        }

        var (program, rest) = Program([.. arguments]);
        return new RealProcess(name, program, rest, $"{Folder}/{name}.log");
    }

    private string Peer(int index) => $"http://{_addresses[index]}:2380";
}
