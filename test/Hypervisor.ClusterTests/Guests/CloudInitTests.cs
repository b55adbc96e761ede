using System.Globalization;
using System.Net;
using System.Security.Cryptography;
using System.Text;
using Google.Protobuf;
using Grpc.Core;
using Hypervisor.ClusterTests.Faults;
using Hypervisor.Protocol.V1;
using Hypervisor.TestCluster;
using Xunit;

namespace Hypervisor.ClusterTests.Guests;

/// <summary>
/// Protects: a disk image of a real system is imported from a web server with its checksum, boots by its own loader, and its own cloud-init makes
/// of it what the instance says, packages included (`scripts/cloud-image.sh` makes the image of Debian's own).
/// </summary>
public sealed class CloudInitTests(CloudInitTests.Fixture fixture) : IClassFixture<CloudInitTests.Fixture>
{
    private const string AdasKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl ada";
    private const string AdminsKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKbGFsZXJlIGlzIG5vIHNlY3JldCBpbiB0aGlzIG9u admin";

    /// <summary>The test's own, merged by cloud-init with what the flags of `instance create` say.</summary>
    private const string UserData = $$"""
        #cloud-config
        users:
          - default
          - name: ada
            shell: /bin/bash
            groups: [sudo]
            ssh_authorized_keys: ["{{AdasKey}}"]
        write_files:
          - path: /etc/greeting
            content: "hello from the seed"
            permissions: '0640'
            owner: root:root
        runcmd:
          - |
            say() { printf '\r\n[[%s]] %s\r\n' "$1" "$2" > /dev/ttyS0; }
            say hostname "$(hostname)"
            say user "$(id -nG ada) $(getent passwd ada)"
            say key "$(cat /home/ada/.ssh/authorized_keys)"
            say admin "$(cat /home/admin/.ssh/authorized_keys)"
            say file "$(stat -c '%a %U' /etc/greeting) $(cat /etc/greeting)"
            say address "$(ip -4 -o address show scope global | tr -s ' ')"
            say route "$(ip route show default)"
            say id "$(cat /var/lib/cloud/data/instance-id)"
            say package "$(dpkg-query -W -f '${db:Status-Status} ${Version}' {{PackageMirror.Package}}): $({{PackageMirror.Package}})"
            say memory "$(sed -n 's/^MemAvailable: *//p' /proc/meminfo)"
            say end yes
        """;

    /// <summary>Under emulation about a minute, and several on a machine that is busy with something else.</summary>
    private static readonly TimeSpan Boot = TimeSpan.FromMinutes(10);

    private LocalCluster Cluster => fixture.Cluster;

    [Fact]
    public async Task A_debian_from_a_web_server_becomes_what_its_instance_says()
    {
        await fixture.MakeDebianAsync();
        var (imported, output) = await fixture.CtlAsync(
            "image", "import", Fixture.UrlOf("debian.qcow2"), "--name", "debian", "--format", "qcow2", "--checksum", await fixture.ChecksumAsync("debian.qcow2"), "--user", "admin");
        Assert.True(imported == 0, output);

        var files = Cluster.Folder;
        await File.WriteAllTextAsync($"{files}/user-data", UserData, TestContext.Current.CancellationToken);
        await File.WriteAllTextAsync($"{files}/admin.pub", AdminsKey + "\n", TestContext.Current.CancellationToken);
        var mirror = new PackageMirror(Cluster);
        await Cluster.ImportBusyboxAsync();
        await mirror.StartAsync();
        var asked = new Instance { Spec = new InstanceSpec { CloudInit = new CloudInitSpec { Packages = { PackageMirror.Package }, Files = { mirror.Sources() } } } };
        await File.WriteAllTextAsync($"{files}/cloud.json", JsonFormatter.Default.Format(asked), TestContext.Current.CancellationToken);
        var (created, told) = await fixture.CtlAsync(
            "instance", "create", "--file", $"{files}/cloud.json", "--name", "cloud", "--type", "vm", "--image", "debian", "--cpus", "1", "--memory", "768", "--hostname", "told-by-seed",
            "--disk", "root=4", "--user-data", $"{files}/user-data", "--ssh-key", $"{files}/admin.pub", "--stop-timeout", "120s", "--no-wait");
        Assert.True(created == 0, told);
        var running = await Cluster.InstanceAsync("cloud", "runs", instance => instance.Status.State == InstanceState.Running, seconds: 120);

        var seen = await ConsoleAsync("[[end]] yes");
        Assert.Equal("told-by-seed", Said(seen, "hostname"));
        Assert.StartsWith("ada sudo ada:x:", Said(seen, "user"), StringComparison.Ordinal);
        Assert.EndsWith(":/home/ada:/bin/bash", Said(seen, "user"), StringComparison.Ordinal);
        Assert.Equal(AdasKey, Said(seen, "key"));
        Assert.Equal(AdminsKey, Said(seen, "admin"));
        Assert.Equal("640 root hello from the seed", Said(seen, "file"));
        Assert.Contains($" inet {running.Status.IpAddresses.Single()}/", Said(seen, "address"), StringComparison.Ordinal);
        Assert.DoesNotContain("dynamic", Said(seen, "address"), StringComparison.Ordinal);
        Assert.StartsWith("default via 10.", Said(seen, "route"), StringComparison.Ordinal);
        Assert.Equal(running.Metadata.Uid, Said(seen, "id"));
        Assert.Equal($"installed {PackageMirror.Version}: {PackageMirror.Greeting}", Said(seen, "package"));
        await Cluster.DeleteAsync(PackageMirror.Instance);
        await TellsItsMemoryAsync(running, Said(seen, "memory"));

        // Its own QEMU guest agent holds all writing while its disks are noted. It is stopped in the moment in which it goes on from that.
        await Cluster.Compute.CreateSnapshotAsync(new CreateSnapshotRequest { Instance = "cloud", Name = "s1" }, deadline: LocalCluster.Deadline(10));
        await Cluster.InstanceAsync(
            "cloud",
            "has a quiesced snapshot",
            instance => instance.Status.Snapshots.Any(snapshot => snapshot is { State: SnapshotState.Ready, Quiesced: true }),
            seconds: 120);

        // Its power button is heard by a system that has booted.
        await Cluster.Compute.StopInstanceAsync(new StopInstanceRequest { Instance = "cloud" }, deadline: LocalCluster.Deadline(10));
        var stopped = await Cluster.InstanceAsync("cloud", "powers itself off", instance => instance.Status is { State: InstanceState.Stopped, Exit: not null }, seconds: 180);
        Assert.True(
            stopped.Status.Exit is { Code: 0, Signal: 0 },
            $"{stopped.Status}\n{string.Join('\n', Cluster.Logs().Split('\n').Where(line => line.Contains(running.Metadata.Uid, StringComparison.Ordinal)))}\n{LastWords(running.Metadata.Uid)}");
        await Cluster.DeleteAsync("cloud");
        await Cluster.LeavesAsync([], "the VM");
    }

    [Fact]
    public async Task Another_checksum_than_promised_is_refused_with_what_arrived_and_leaves_nothing()
    {
        await Shell.RunAsync("qemu-img", "create", "-q", "-f", "qcow2", $"{fixture.Served}/small.qcow2", "16M");
        var before = fixture.ServersBlobs();
        var arrived = await fixture.ChecksumAsync("small.qcow2");
        var promised = "sha256:" + new string('0', 64);
        var (code, output) = await fixture.CtlAsync("image", "import", Fixture.UrlOf("small.qcow2"), "--name", "small", "--checksum", promised);

        Assert.NotEqual(0, code);
        foreach (var part in new[] { "url", arrived, promised, "damaged, or another file", "Nothing of it is kept" })
        {
            Assert.Contains(part, output, StringComparison.Ordinal);
        }

        var images = await Cluster.Compute.ListImagesAsync(new ListImagesRequest(), deadline: LocalCluster.Deadline(10));
        Assert.DoesNotContain(images.Images, image => image.Metadata.Name.StartsWith("small", StringComparison.Ordinal));
        await RealTime.UntilAsync("the server keeps nothing of it", TimeSpan.FromSeconds(30), () => before.SequenceEqual(fixture.ServersBlobs()));

        // With the right one it is the same call.
        var (imported, said) = await fixture.CtlAsync("image", "import", Fixture.UrlOf("small.qcow2"), "--name", "small", "--checksum", arrived);
        Assert.True(imported == 0, said);
    }

    /// <summary>As its kernel says, by its balloon. What its QEMU takes is more: a system reads its disks into all of its memory.</summary>
    private async Task TellsItsMemoryAsync(Instance running, string left)
    {
        var expected = (768L << 20) - (long.Parse(left.Split(' ')[0], CultureInfo.InvariantCulture) << 10);
        await RealTime.UntilAsync("it tells how much memory it uses", TimeSpan.FromSeconds(60), async () =>
        {
            var stats = await Cluster.Compute.GetInstanceStatsAsync(new GetInstanceStatsRequest { Instance = running.Metadata.Name }, deadline: LocalCluster.Deadline(10));
            return Math.Abs(stats.MemoryBytes - expected) < 96 << 20;
        });
    }

    private string LastWords(string uid)
    {
        var file = Directory.EnumerateFiles(Cluster.Folder, "console.log", SearchOption.AllDirectories).FirstOrDefault(path => path.Contains(uid, StringComparison.Ordinal));
        return file is null ? "" : string.Join('\n', File.ReadLines(file).TakeLast(40));
    }

    private static string Said(string console, string what)
    {
        var line = console.Split('\n').Select(line => line.TrimEnd('\r')).FirstOrDefault(line => line.StartsWith($"[[{what}]] ", StringComparison.Ordinal));
        return line?[$"[[{what}]] ".Length..] ?? throw new InvalidOperationException($"Nothing was said of {what}:\n{console}");
    }

    /// <summary>What its serial console shows until the given words.</summary>
    private async Task<string> ConsoleAsync(string until)
    {
        var shown = new StringBuilder();
        using var console = Cluster.Compute.AttachConsole(deadline: LocalCluster.Deadline(Boot.TotalSeconds));
        await console.RequestStream.WriteAsync(new ConsoleInput { Instance = "cloud" });
        try
        {
            while (!shown.ToString().Contains(until, StringComparison.Ordinal) && await console.ResponseStream.MoveNext(TestContext.Current.CancellationToken))
            {
                shown.Append(Encoding.Latin1.GetString(console.ResponseStream.Current.Data.Span));
            }
        }
        catch (RpcException end)
        {
            throw new InvalidOperationException($"The console ended before \"{until}\":\n{shown}", end);
        }

        return shown.ToString();
    }

    public sealed class Fixture : IAsyncLifetime
    {
        private const int Port = 8000;

        private RealProcess? _web;

        internal LocalCluster Cluster { get; private set; } = null!;

        internal string Served => $"{Cluster.Folder}/served";

        public async ValueTask InitializeAsync()
        {
            Cluster = await LocalCluster.StartAsync(new LocalClusterOptions
            {
                Libvirt = true,
                ServerYaml = $"images: {{import_hosts: [\"127.0.0.1:{Port}\"]}}",
            });
            Directory.CreateDirectory(Served);
            _web = Cluster.Inside("web", "busybox", "httpd", "-f", "-p", $"127.0.0.1:{Port}", "-h", Served);
            _web.Start();
            await RealTime.UntilAsync("the web server listens", TimeSpan.FromSeconds(30), async () =>
            {
                try
                {
                    using var socket = await Cluster.ConnectAsync(new IPEndPoint(IPAddress.Loopback, Port));
                    return true;
                }
                catch (System.Net.Sockets.SocketException)
                {
                    return false;
                }
            });
            await RealTime.UntilAsync("the node runs VMs", LocalCluster.GuestTrials, async () =>
                (await Cluster.Nodes.ListNodesAsync(new ListNodesRequest(), deadline: LocalCluster.Deadline(5)))
                    .Nodes.Any(node => node.Status.Inventory.Runtimes.Any(runtime => runtime is { Type: InstanceType.Vm, Available: true })));
        }

        /// <summary>Cold it takes minutes: several hundred packages are fetched and unpacked.</summary>
        internal async Task MakeDebianAsync()
        {
            var (code, output, error) = await Shell.TryRunAsync(
                $"{LocalCluster.Repository}/scripts/cloud-image.sh", [$"{Served}/debian.qcow2"], TimeSpan.FromMinutes(25));
            Assert.True(code == 0, output + error);
        }

        internal static string UrlOf(string file) => $"http://127.0.0.1:{Port}/{file}";

        internal async Task<string> ChecksumAsync(string file)
        {
            await using var content = File.OpenRead($"{Served}/{file}");
            return "sha256:" + Convert.ToHexStringLower(await SHA256.HashDataAsync(content));
        }

        /// <summary>The shipped program on the cluster's machine.</summary>
        internal async Task<(int Code, string Output)> CtlAsync(params string[] arguments)
        {
            var (code, output, error) = await Shell.TryRunAsync(
                "nsenter", [$"--net={Cluster.NetworkNamespace}", "--", $"{LocalCluster.Binaries}/hypervisor-ctl", .. arguments], TimeSpan.FromMinutes(5));
            return (code, output + error);
        }

        /// <summary>Files of images, whole or not.</summary>
        internal IReadOnlyList<string> ServersBlobs() => [.. Directory
            .EnumerateFiles($"{Cluster.Folder}/server", "*", SearchOption.AllDirectories)
            .Where(file => !file.Contains(".db", StringComparison.Ordinal))
            .Order(StringComparer.Ordinal)];

        public async ValueTask DisposeAsync()
        {
            await (_web?.DisposeAsync() ?? ValueTask.CompletedTask);
            await Cluster.DisposeAsync();
        }
    }
}
