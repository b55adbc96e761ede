using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Guests.Disks;
using Hypervisor.Hosting.Randomness;
using Hypervisor.TestCluster;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Time.Testing;
using Xunit;

namespace Hypervisor.ClusterTests.Guests.Disks;

/// <summary>
/// Protects: a guest's root file system is the image's files and nothing else (HostConfined), made once, whole or not at all (NoOrphans),
/// and never removed under a disk. By the real mke2fs; what it wrote is read by the kernel.
/// </summary>
public sealed class RootFileSystemTests : IAsyncLifetime
{
    private const string Digest = "sha256:1111111111111111111111111111111111111111111111111111111111111111";
    private const string Other = "sha256:2222222222222222222222222222222222222222222222222222222222222222";

    private readonly string _scratch = Directory.CreateTempSubdirectory("rootfs-").FullName;
    private readonly HashSet<string> _held = [];
    private readonly FakeTimeProvider _time = new(RealTime.Clock.GetUtcNow());

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    private string Tree => Path.Combine(_scratch, "tree");

    private string Cache => Path.Combine(_scratch, "cache");

    public ValueTask InitializeAsync()
    {
        Directory.CreateDirectory(Tree);
        return default;
    }

    /// <summary>Names that are no text, and links out of the folder: not for <see cref="Directory"/>.</summary>
    public async ValueTask DisposeAsync() => await Shell.RunAsync("rm", "-rf", "--one-file-system", _scratch);

    [Fact(Timeout = 120_000)]
    public async Task Every_kind_of_file_arrives_as_it_was_and_no_link_leads_out()
    {
        await ScriptAsync("""
            mkdir -p usr/bin etc many 'd
            r' lost+found
            printf 'root:x' > etc/passwd; printf dash > ./-rf; printf newline > 'a
            b'; printf bytes > "$(printf '\377\376')"; printf suid > usr/bin/suid; printf cap > usr/bin/cap
            chown 1000:70000 usr/bin/suid; chmod 6755 usr/bin/suid; chmod 1777 many; chown 12:34 'd
            r'
            ln usr/bin/cap usr/bin/hard; ln -s /etc/shadow shadow; ln -s / everything; ln -s ../../../../etc up; ln -s "$(printf '%01000d' 7)" long
            mknod null c 1 3; mknod disk b 259 70000; mkfifo pipe
            setfattr -n security.capability -v 0x0100000202000000000000000000000000000000 usr/bin/cap
            setfattr -n user.note -v "$(printf '%03000d' 1)" etc/passwd
            head -c 5000000 /dev/urandom > big; truncate -s 5G holes; printf end >> holes
            i=0; while [ $i -lt 3000 ]; do : > many/$i; i=$((i+1)); done
            touch -d '2001-02-03 04:05:06' etc/passwd; chown 5:6 .; chmod 0751 .
            """);

        var made = await Files(new FolderTrees(Tree)).EnsureAsync(Digest, Cancel);

        Assert.Equal(FolderTrees.Defaults.Entrypoint, made.Defaults.Entrypoint);
        Assert.Equal(made.VirtualSizeBytes, new FileInfo(made.Path).Length);
        Assert.True(made.VirtualSizeBytes - DiskFiles.Allocated(made.Path) >= DiskLimits.FreeBytes);
        var (exit, report, _) = await Shell.TryRunAsync("e2fsck", ["-f", "-n", made.Path]);
        // All that it misses is lost+found, which containers have not either.
        Assert.True(exit is 0 or 4 && report.Split('\n').Count(line => line.Contains('?', StringComparison.Ordinal)) <= 1, report);
        var mount = Path.Combine(_scratch, "mount");
        Directory.CreateDirectory(mount);
        await Shell.RunAsync("mount", "-o", "loop,ro,noload,nodev,nosuid,noexec", made.Path, mount);
        try
        {
            await Shell.RunAsync("rmdir", Path.Combine(Tree, "lost+found"));
            Assert.Equal(await ListAsync(Tree), await ListAsync(mount));
            await Shell.RunAsync("diff", "-r", "--no-dereference", "--exclude=pipe", "--exclude=null", "--exclude=disk", "--exclude=holes", Tree, mount);
            await Shell.RunAsync("cmp", Path.Combine(Tree, "holes"), Path.Combine(mount, "holes"), "--ignore-initial", "5368000000");
        }
        finally
        {
            await Shell.RunAsync("umount", mount);
        }
    }

    [Fact(Timeout = 60_000)]
    public async Task Many_who_wait_cause_one_build_and_the_second_time_none()
    {
        await ScriptAsync("printf x > file");
        var gate = new TaskCompletionSource();
        var trees = new FolderTrees(Tree) { Gate = gate.Task };
        var files = Files(trees);
        var waiters = Enumerable.Range(0, 5).Select(_ => files.EnsureAsync(Digest, Cancel)).ToList();
        gate.SetResult();

        var made = await Task.WhenAll(waiters);

        Assert.Equal(1, trees.Opened);
        Assert.Single(made.Select(files => files.Build).Distinct());
        Assert.Equal(made[0].Build, (await Files(trees).EnsureAsync(Digest, Cancel)).Build);
        Assert.Equal((1, 0), (trees.Opened, trees.Open));
        Assert.Equal(2, Directory.GetFiles(Cache).Length);
    }

    [Fact(Timeout = 60_000)]
    public async Task What_a_killed_agent_left_is_removed_and_made_again()
    {
        await ScriptAsync("printf x > file");
        Directory.CreateDirectory(Cache);
        foreach (var left in (string[])[$"{Digest[7..]}.1.making", $"{Digest[7..]}.json", $"{Digest[7..]}.json.new", $"{Other[7..]}.2.making"])
        {
            await File.WriteAllTextAsync(Path.Combine(Cache, left), "{", Cancel);
        }

        var made = await Files(new FolderTrees(Tree)).EnsureAsync(Digest, Cancel);

        Assert.Equal([$"{Digest[7..]}.json", $"{Digest[7..]}.raw"], Directory.GetFiles(Cache).Select(Path.GetFileName).Order(StringComparer.Ordinal));
        Assert.True(File.Exists(made.Path));
    }

    [Fact(Timeout = 60_000)]
    public async Task Giving_up_ends_mke2fs_and_leaves_nothing()
    {
        await ScriptAsync("head -c 300000000 /dev/zero | tr '\\0' x > big");
        using var gone = CancellationTokenSource.CreateLinkedTokenSource(Cancel);
        var trees = new FolderTrees(Tree);
        var waiting = Files(trees).EnsureAsync(Digest, gone.Token);
        await RealTime.UntilAsync("the build has begun to write", TimeSpan.FromSeconds(20), () =>
            Directory.Exists(Cache) && Directory.GetFiles(Cache).Any(file => DiskFiles.Allocated(file) > 1 << 20));

        await gone.CancelAsync();

        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => waiting);
        await RealTime.UntilAsync("nothing is left", TimeSpan.FromSeconds(20), () => trees.Open == 0 && Directory.GetFiles(Cache).Length == 0);
    }

    [Theory(Timeout = 60_000)]
    [InlineData(null)]
    [InlineData(1L)]
    public async Task A_full_disk_is_said_to_be_full_and_nothing_stays_on_it(long? claimed)
    {
        await ScriptAsync("head -c 30000000 /dev/urandom > big");
        Directory.CreateDirectory(Cache);
        await Shell.RunAsync("mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", Cache);
        try
        {
            // Found out before, and, from an image that claims to be small, only when it is full.
            var full = await Assert.ThrowsAsync<DriverException>(() => Files(new FolderTrees(Tree) { Bytes = claimed }).EnsureAsync(Digest, Cancel));

            Assert.Equal((DriverException.DiskFull, false), (full.Reason, full.Permanent));
            Assert.Empty(Directory.GetFiles(Cache));
        }
        finally
        {
            await Shell.RunAsync("umount", Cache);
        }
    }

    [Fact(Timeout = 60_000)]
    public async Task Over_the_limit_what_was_not_used_for_longest_goes_but_never_under_a_disk()
    {
        await ScriptAsync("head -c 2000000 /dev/urandom > file");
        var files = Files(new FolderTrees(Tree), limit: 1);
        await files.EnsureAsync(Digest, Cancel);
        _time.Advance(TimeSpan.FromMinutes(1));
        await files.EnsureAsync(Other, Cancel);
        Assert.Empty(await files.CollectAsync(Cancel));

        _time.Advance(DiskLimits.CacheGrace);
        _held.Add(Digest);
        Assert.Equal([Other], await files.CollectAsync(Cancel));
        _held.Clear();
        Assert.Equal([Digest], await files.CollectAsync(Cancel));
        Assert.Empty(Directory.GetFiles(Cache));
    }

    private RootFileSystems Files(FolderTrees trees, long limit = 0) => new(
        Cache,
        trees,
        new RootFileSystemBuilder(new DiskTool(RealTime.Clock), RealTime.Clock),
        limit,
        _ => Task.FromResult<IReadOnlySet<string>>(_held),
        _time,
        new SystemRandomSource(),
        NullLogger<RootFileSystems>.Instance);

    private Task<string> ScriptAsync(string script) => Shell.RunAsync("bash", "-euc", $"cd {Tree}; {script}");

    /// <summary>Everything that a file system tells of its files, by tools that know nothing of ours.</summary>
    private static async Task<string> ListAsync(string root)
    {
        var files = await Shell.RunAsync("bash", "-euc", $"cd {root}; LC_ALL=C find . -printf '%y %#m %U:%G %n %TY%Tm%Td%TH%TM%.2TS %l %p\\0' | sed -z '/^d/s/ [0-9]* [0-9]* / /' | sort -z | tr '\\0' '\\n' | base64 -w0");
        var devices = await Shell.RunAsync("bash", "-euc", $"cd {root}; LC_ALL=C stat -c '%t %T %n' null disk; LC_ALL=C find . -type f -size -4G -printf '%s %p\\0' | sort -z | base64 -w0");
        var attributes = await Shell.RunAsync("bash", "-euc", $"cd {root}; LC_ALL=C getfattr -d -m - -e hex -h usr/bin/cap etc/passwd");
        return files + devices + attributes;
    }
}
