using System.Formats.Tar;
using System.IO.Enumeration;
using System.Text;
using Google.Protobuf.WellKnownTypes;
using Hypervisor.Protocol.V1;
using Hypervisor.TestCluster;
using Xunit;

namespace Hypervisor.ClusterTests.Faults;

/// <summary>
/// Protects: links in images and links that change while the node works lead nobody out of the instance's root: nothing of the
/// node is read, written, created or deleted through them (HostConfined).
/// </summary>
[Collection(OneCluster.Name)]
public sealed class LinkRaceTests(OneCluster fixture) : IDisposable
{
    private const int Restarts = 12;

    private static readonly string[] _planted = ["secret", "passwd", "hostname"];

    /// <summary>A folder of the node that no instance was given.</summary>
    private readonly DirectoryInfo _canary = Directory.CreateTempSubdirectory("hvt-canary-");

    private LocalCluster Cluster => fixture.Cluster;

    public void Dispose() => _canary.Delete(recursive: true);

    [Fact]
    public async Task Links_in_an_image_lead_nowhere_on_the_node()
    {
        var baseline = await fixture.BeginAsync();
        PlantCanary();
        var before = Canary();
        var target = _canary.FullName;
        var up = string.Concat(Enumerable.Repeat("../", 40)) + target[1..];
        await Cluster.ImportAsync("links", OciArchive.Of(
            OciArchive.Shell(),
            OciArchive.Layer(tar =>
            {
                OciArchive.Link(tar, "etc", target);
                OciArchive.Link(tar, "absolute", target);
                OciArchive.Link(tar, "relative", up);
                OciArchive.Link(tar, "work", target + "/made");
                Through(tar);
            }),
            OciArchive.Layer(Through)));

        // Accounts are read by the agent; binds are made and working directories entered by runc: all below what links name.
        var thief = Instances.Request("thief", "links", "sleep", "3600");
        thief.Spec.Process.User = "canary";
        await Cluster.CreateAsync(thief);
        var failed = await Cluster.InstanceAsync("thief", "fails", instance => instance.Status.State == InstanceState.Failed);
        var worker = Instances.Request("worker", "links", "sleep", "3600");
        worker.Spec.Process.WorkingDir = "/work";
        await Cluster.CreateAsync(worker);
        await Cluster.InstanceAsync(
            "worker", "fails", instance => instance.Status is { State: InstanceState.Failed, Reason: "WorkingDirectoryInvalid" });
        await Cluster.CreateAsync(Instances.Request("guest", "links", "sleep", "3600"));
        var process = Cluster.ProcessOf(await Cluster.RunningAsync("guest"));

        Assert.Equal("UserNotFound", failed.Status.Reason);
        Assert.NotEqual(0, (await InRootAsync(process, "/bin/cat", target + "/secret")).ExitCode);
        Assert.NotEqual(0, (await InRootAsync(process, "/bin/cat", "/relative/secret")).ExitCode);
        Assert.Equal((0, "x", ""), await InRootAsync(process, "/bin/cat", target + "/planted-absolute"));
        Assert.Equal((0, "x", ""), await InRootAsync(process, "/bin/cat", target + "/planted-relative"));
        Assert.Equal(before, Canary());
        foreach (var name in new[] { "thief", "worker", "guest" })
        {
            await Cluster.DeleteAsync(name);
        }

        Assert.Equal(before, Canary());
        await Cluster.LeavesAsync(baseline, "the instances");

        // Within one layer they follow the links, in the next one they replace them.
        static void Through(TarWriter tar)
        {
            OciArchive.File(tar, "absolute/.wh.secret", []);
            OciArchive.File(tar, "relative/.wh.hostname", []);
            OciArchive.File(tar, "relative/.wh..wh..opq", []);
            OciArchive.File(tar, "absolute/planted-absolute", "x"u8.ToArray());
            OciArchive.File(tar, "relative/planted-relative", "x"u8.ToArray());
            OciArchive.HardLink(tar, "stolen", "absolute/planted-absolute");
        }
    }

    [Theory]
    [InlineData("etc")]
    [InlineData("dev")]
    [InlineData("proc")]
    [InlineData("work")]
    public async Task A_folder_that_becomes_a_link_during_each_start_lets_nothing_out(string folder)
    {
        var baseline = await fixture.BeginAsync();
        PlantCanary();
        var runcMakesFiles = await IsRuncLedToMakeFilesAsync();
        var before = Canary(runcMakesFiles);
        await Cluster.ImportAsync("bare", OciArchive.Of(OciArchive.Shell()));
        var script = $"ln -s {_canary.FullName} /trap; while :; do sleep 1000; done";
        var request = Instances.Request("flipped", "bare", "sh", "-c", script);
        request.Spec.Process.WorkingDir = "/work";
        request.Spec.Stop.GracePeriod = Duration.FromTimeSpan(TimeSpan.Zero);
        await Cluster.CreateAsync(request);
        var instance = await Cluster.RunningAsync("flipped");
        var process = Cluster.ProcessOf(instance);
        await RealTime.UntilAsync("the trap is there", TimeSpan.FromSeconds(10), () =>
            new FileInfo($"/proc/{process}/root/trap").LinkTarget is not null);

        // The worst neighbour: it changes the root from outside, all the time, also while there is no process in it.
        var tasks = $"{Cluster.RunFolder}/containerd/io.containerd.runtime.v2.task/{Cluster.ContainerdNamespace}";
        var root = $"{tasks}/{instance.Metadata.Uid}/rootfs";
        using var stop = new CancellationTokenSource();
        var flips = 0L;
        var flipper = new Thread(() =>
        {
            while (!stop.IsCancellationRequested)
            {
                flips += Linux.Exchange($"{root}/{folder}", $"{root}/trap") ? 1 : 0;
            }
        });
        flipper.Start();
        try
        {
            for (var restart = 0; restart < Restarts; restart++)
            {
                var again = new RestartInstanceRequest { Instance = "flipped" };
                await Cluster.Compute.RestartInstanceAsync(again, deadline: LocalCluster.Deadline(10));

                // runc may find a link where it wants a folder, and refuse; what counts is that it goes nowhere.
                await Cluster.InstanceAsync("flipped", "is restarted", after => after.Status.State == InstanceState.Running
                    ? Instances.Settled(after, InstanceState.Running)
                    : after.Status.Reason.Length > 0);
                Assert.Equal(before, Canary(runcMakesFiles));
            }
        }
        finally
        {
            await stop.CancelAsync();
            flipper.Join();
        }

        Assert.True(flips > 100 * Restarts, $"only {flips} exchanges: nothing was raced against");
        await Cluster.DeleteAsync("flipped");
        Assert.Equal(before, Canary(runcMakesFiles));
        await Cluster.LeavesAsync(baseline, "the instance");
    }

    /// <remarks>Whoever cannot write in a folder cannot put a link into it, so this covers every path at once, sockets included.</remarks>
    [Fact]
    public async Task Nobody_but_root_can_put_a_link_into_any_folder_that_the_programs_write_to()
    {
        var baseline = await fixture.BeginAsync();
        await Cluster.RunAsync("open", "sh", "-c", "mkdir -p /shared; chmod 777 /shared /; while :; do sleep 1000; done");
        var more = OciArchive.Layer(tar => OciArchive.File(tar, "a", "b"u8.ToArray()));
        foreach (var archive in new[] { OciArchive.Of(OciArchive.Shell()), OciArchive.Of(OciArchive.Shell(), more) })
        {
            await WhileNobodyCanWriteAsync(Cluster.ImportAsync("raced", archive));
            await WhileNobodyCanWriteAsync(StartAsync());
            await WhileNobodyCanWriteAsync(Cluster.DeleteAsync("racer"));
        }

        await Cluster.DeleteAsync("open");
        await Cluster.LeavesAsync(baseline, "the instances");

        async Task StartAsync()
        {
            await Cluster.CreateAsync(Instances.Request("racer", "raced", "sleep", "3600"));
            await Cluster.RunningAsync("racer");
        }

        async Task WhileNobodyCanWriteAsync(Task work)
        {
            do
            {
                Assert.Equal("", await Cluster.WritableByNobodyAsync());
            }
            while (!work.IsCompleted);
            await work;
        }
    }

    private void PlantCanary()
    {
        File.WriteAllText(Path.Combine(_canary.FullName, "secret"), "secret");
        File.WriteAllText(Path.Combine(_canary.FullName, "passwd"), "canary:x:4242:4242::/:/bin/sh\n");
        File.WriteAllText(Path.Combine(_canary.FullName, "hostname"), "the node's");
        foreach (var directory in _canary.EnumerateFileSystemInfos())
        {
            directory.LastAccessTimeUtc = DateTime.UnixEpoch;
        }
    }

    /// <summary>
    /// A runc before 1.1.14 can be led by such a race to make an empty file or folder where it wants to mount (CVE-2024-45310), and, where it
    /// takes a folder for the container's /dev, the links that it puts there; it changes nothing of other names. A node with one says so.
    /// </summary>
    private async Task<bool> IsRuncLedToMakeFilesAsync()
    {
        var nodes = await Cluster.Nodes.ListNodesAsync(new ListNodesRequest(), deadline: LocalCluster.Deadline(5));
        return nodes.Nodes.Single().Status.Inventory.Runtimes.SelectMany(runtime => runtime.Warnings)
            .Any(warning => warning.Message.Contains("CVE-2024-45310", StringComparison.Ordinal));
    }

    /// <summary>Everything about the canary that reading, writing or mounting would change. A first read moves a relative access time.</summary>
    private string Canary(bool withoutEmptyNew = false)
    {
        var text = new StringBuilder();
        var everything = new FileSystemEnumerable<FileSystemInfo>(
            _canary.FullName, static (ref entry) => entry.ToFileSystemInfo(), new EnumerationOptions { RecurseSubdirectories = true, AttributesToSkip = 0 })
        {
            // What a link leads to is no part of it.
            ShouldRecursePredicate = static (ref entry) => (entry.Attributes & FileAttributes.ReparsePoint) == 0,
        };
        var entries = everything
            .Where(entry => !withoutEmptyNew || _planted.Contains(entry.Name) || !IsOfRunc(entry));
        foreach (var entry in entries.OrderBy(entry => entry.FullName, StringComparer.Ordinal))
        {
            text.AppendLine($"{entry.FullName} {entry.UnixFileMode} {entry.LastWriteTimeUtc.Ticks} {entry.LastAccessTimeUtc.Ticks}");
        }

        var mounts = File.ReadAllLines("/proc/self/mountinfo");
        text.AppendJoin('\n', mounts.Where(line => line.Contains(_canary.FullName, StringComparison.Ordinal)));
        return text.ToString();
    }

    private static bool IsOfRunc(FileSystemInfo entry) => entry switch
    {
        { LinkTarget: { } target } => target is "pts/ptmx" or "/proc/kcore" || target.StartsWith("/proc/self/fd", StringComparison.Ordinal),
        FileInfo file => file.Length == 0,
        DirectoryInfo folder => !folder.EnumerateFileSystemInfos().Any(),
        _ => false,
    };

    private static Task<(int ExitCode, string Output, string Error)> InRootAsync(int process, params string[] command) =>
        Shell.TryRunAsync("nsenter", ["-t", $"{process}", "-m", "-r", "--", .. command]);
}
