using System.Globalization;
using Hypervisor.Protocol.V1;
using Hypervisor.TestCluster;
using Xunit;

namespace Hypervisor.ClusterTests.Guests;

public sealed partial class MicrovmTests
{
    private const string MachineId = "/etc/machine-id";

    /// <summary>What it sees first, before anything else has run in it.</summary>
    private const string Begins =
        "date +%s > /began; cat /proc/sys/kernel/random/uuid > /first; head -c 16 /dev/urandom | od -An -tx1 >> /first; exec httpd -f -p 80 -h /var/www";

    [Fact]
    public async Task Warm_guests_are_each_somebody_else_and_share_the_memory_that_they_began_with()
    {
        await ImportWithMachineIdAsync();
        List<Instance> guests = [];
        List<string> seen = [];
        foreach (var name in new[] { "warm-a", "warm-b", "warm-c" })
        {
            var asked = RealTime.Clock.GetUtcNow();
            await CreateWarmAsync(name, millicores: 300);
            var guest = await RunsAsync(name, instance => true);
            Assert.Contains("It runs.", await FetchAsync(guest), StringComparison.Ordinal);
            var began = await NumberAsync(name, "cat", "/began");
            Assert.InRange(began, asked.ToUnixTimeSeconds() - 2, RealTime.Clock.GetUtcNow().ToUnixTimeSeconds() + 2);
            var before = RealTime.Clock.GetUtcNow().ToUnixTimeSeconds();
            Assert.InRange(await NumberAsync(name, "date", "+%s"), before - 2, RealTime.Clock.GetUtcNow().ToUnixTimeSeconds() + 2);
            Assert.Equal((0, $"{name}\n"), await ExecAsync(name, "hostname"));
            Assert.Equal(guest.Metadata.Uid.Replace("-", "", StringComparison.Ordinal), await ReadAsync(name, MachineId));
            Assert.Contains($"inet {guest.Status.IpAddresses.Single()}/", (await ExecAsync(name, "ip", "addr", "show", "eth0")).Output, StringComparison.Ordinal);
            guests.Add(guest);
            seen.AddRange([.. (await ReadAsync(name, "/first")).Split('\n'), await ReadAsync(name, "/proc/sys/kernel/random/boot_id"), await ReadAsync(name, "/sys/class/net/eth0/address")]);
        }

        Assert.Equal(12, seen.Distinct(StringComparer.Ordinal).Count());
        Assert.Equal(3, guests.Select(guest => guest.Status.IpAddresses.Single()).Distinct().Count());

        // All of them went on from one file, and nobody writes to it: what they did not change is there once.
        string[] others = [.. "defghij".Select(letter => $"warm-{letter}")];
        await Task.WhenAll(others.Select(name => CreateWarmAsync(name, millicores: 100)));
        foreach (var name in others)
        {
            await RunsAsync(name, instance => true);
        }

        var template = Assert.Single(Directory.GetDirectories($"{Cluster.NodeFolder}/agent/warm/microvm"));
        var machines = new Leftovers(Cluster).Machines();
        Assert.Equal(10, machines.Count);
        var parts = machines.Select(machine => Shares(machine, Path.Combine(template, "memory"))).ToList();
        var (resident, proportional) = (parts.Sum(part => part.Resident), parts.Sum(part => part.Proportional));
        TestContext.Current.SendDiagnosticMessage($"resident {resident} KiB, proportional {proportional} KiB");
        Assert.All(parts, part => Assert.InRange(part.Proportional, 1, part.Resident - (8 << 10)));
        Assert.True(proportional < resident / 2, $"{machines.Count} guests have {resident} KiB resident, {proportional} KiB of their own");

        // It is suspended, goes on and ends as any other.
        await Cluster.Compute.SuspendInstanceAsync(new SuspendInstanceRequest { Instance = "warm-b" }, deadline: LocalCluster.Deadline(10));
        await Cluster.InstanceAsync("warm-b", "is suspended", instance => instance.Status.State == InstanceState.Suspended, seconds: 60);
        await Cluster.Compute.ResumeInstanceAsync(new ResumeInstanceRequest { Instance = "warm-b" }, deadline: LocalCluster.Deadline(10));
        var resumed = await RunsAsync("warm-b", instance => instance.Status.ObservedGeneration == instance.Metadata.Generation);
        Assert.Equal(guests[1].Status.StartedAt, resumed.Status.StartedAt);
        Assert.Contains("It runs.", await FetchAsync(resumed), StringComparison.Ordinal);
        await Cluster.Compute.StopInstanceAsync(new StopInstanceRequest { Instance = "warm-c" }, deadline: LocalCluster.Deadline(10));
        var stopped = await Cluster.InstanceAsync("warm-c", "stops", instance => instance.Status.State == InstanceState.Stopped && instance.Status.Exit is not null);
        Assert.Equal((143, 15), (stopped.Status.Exit.Code, stopped.Status.Exit.Signal));

        await Task.WhenAll(others.Concat(["warm-a", "warm-b", "warm-c"]).Select(DeleteAsync));

        Assert.Empty(await new Leftovers(Cluster).ListAsync());
    }

    /// <summary>KiB that a process has of a file's mapping, and its part of them when each is divided by how many have it (proc_pid_smaps(5)).</summary>
    private static (long Resident, long Proportional) Shares(int process, string path)
    {
        var (isOfFile, resident, proportional) = (false, 0L, 0L);
        foreach (var line in File.ReadLines($"/proc/{process}/smaps"))
        {
            var words = line.Split(' ', StringSplitOptions.RemoveEmptyEntries);
            if (!words[0].EndsWith(':'))
            {
                isOfFile = line.EndsWith(path, StringComparison.Ordinal);
            }
            else if (isOfFile)
            {
                resident += words[0] == "Rss:" ? Kilobytes(words) : 0;
                proportional += words[0] == "Pss:" ? Kilobytes(words) : 0;
            }
        }

        return (resident, proportional);

        static long Kilobytes(string[] words) => long.Parse(words[1], CultureInfo.InvariantCulture);
    }

    private async Task<long> NumberAsync(string name, params string[] command) =>
        long.Parse((await ExecAsync(name, command)).Output, CultureInfo.InvariantCulture);

    /// <summary>The busybox image with a machine id, which most images of systems have.</summary>
    private async Task ImportWithMachineIdAsync()
    {
        var archive = $"{Cluster.Folder}/warm.tar";
        const string Script = """
            . "$0/scripts/lib.sh"; . "$0/scripts/lib-image.sh"
            root=$(mktemp -d); trap 'rm -rf "$root"' EXIT
            base_root "$root"; : > "$root/etc/machine-id"; echo 'It runs.' > "$root/var/www/index.html"
            pack_image "$root" warm '{"Env":["PATH=/bin:/usr/bin"],"Cmd":["/bin/sh"]}' "$1"
            """;
        await Shell.RunAsync("bash", "-euc", Script, LocalCluster.Repository, archive);
        await Cluster.ImportAsync("warm", await File.ReadAllBytesAsync(archive, Cancel));
    }

    private async Task CreateWarmAsync(string name, long millicores) => await Cluster.Compute.CreateInstanceAsync(
        new CreateInstanceRequest
        {
            Name = name,
            Spec = new InstanceSpec
            {
                Type = InstanceType.Microvm,
                Image = "warm",
                Resources = new Resources { CpuMillicores = millicores, MemoryBytes = 128 << 20 },
                Process = new ProcessSpec { Command = { "sh", "-c", Begins } },
                Machine = new MachineSpec { WarmStart = true },
            },
        },
        deadline: LocalCluster.Deadline(10));
}
