using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Drivers.Firecracker;
using Hypervisor.Agent.Guests;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.TestCluster;

namespace Hypervisor.ClusterTests.Firecracker;

/// <summary>One guest with its folders, its tap and the driver that runs it; nothing of it is left whatever happens.</summary>
internal sealed class FirecrackerGuest : IAsyncDisposable
{
    public static readonly InstanceId Id = new("0197b7a0-0000-7000-8000-0000000000fc");

    private static readonly TimeSpan Boot = TimeSpan.FromSeconds(40);

    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("hvt-fcg-");
    private readonly FirecrackerHost _host;
    private readonly string _program;

    public FirecrackerGuest(FirecrackerHost host, string program, bool jailed = false)
    {
        (_host, _program) = (host, program);
        Options = new FirecrackerOptions
        {
            Program = program,
            StateDirectory = $"{Folder}/state",
            CgroupParent = $"/{_folder.Name}",
            Accelerators = [FirecrackerHost.AcceleratorOf(program)],
            TrackDirtyPages = true,
            Jailer = jailed ? new JailerOptions { Program = Jailer(), ChrootBase = $"{Folder}/jails", CgroupVersion = File.Exists("/sys/fs/cgroup/cgroup.controllers") ? 2 : 1 } : null,
        };
        Vmm = NewAgent();
        Directory.CreateDirectory($"{Folder}/run");
        File.WriteAllText($"{Folder}/root.raw", "disk-of-root\n");
        using var disk = File.OpenHandle($"{Folder}/root.raw", access: FileAccess.ReadWrite);
        RandomAccess.SetLength(disk, 1 << 20);
    }

    public string Folder => _folder.FullName;

    public FirecrackerOptions Options { get; }

    public FirecrackerVmm Vmm { get; private set; }

    public string Console => File.Exists($"{Folder}/console.log") ? File.ReadAllText($"{Folder}/console.log") : "";

    public string? Tap { get; private set; }

    public GuestMachine Machine => new(Id, new Epoch(3), new Assignment(), FirecrackerHost.AcceleratorOf(_program))
    {
        VirtualCpus = 1,
        Limits = new InstanceLimits(900, 128L << 20, 0),
        Boot = new DirectBoot(_host.Kernel, _host.Initramfs, "console=ttyS0 quiet reboot=k panic=1"),
        Disks = [new GuestDisk("root", $"{Folder}/root.raw", DiskFormat.Raw)],
        Nic = Tap is { } tap ? new GuestNic(tap, "02:00:0a:80:00:fc", 1450) : null,
        RunDirectory = $"{Folder}/run",
        ConsoleLog = $"{Folder}/console.log",
    };

    /// <summary>What it would be if the agent had been started again: it knows what is on the machine, and nothing else.</summary>
    public FirecrackerVmm NewAgent()
    {
        Vmm?.Dispose();
        return Vmm = FirecrackerServices.Create(Options, RealTime.Clock);
    }

    public async Task MakeTapAsync()
    {
        // At most 15 characters, and the folder's name is nobody else's.
        Tap = $"fc{_folder.Name[^6..]}";
        await Shell.RunAsync("ip", "tuntap", "add", "dev", Tap, "mode", "tap");
    }

    public Task WritesAsync(string text) => RealTime.UntilAsync($"the console says {text}", Boot, () => Console.Contains(text, StringComparison.Ordinal));

    public int LastTick() => Console.Split('\n')
        .Select(line => line.TrimEnd('\r'))
        .Where(line => line.StartsWith("tick ", StringComparison.Ordinal))
        .Select(line => int.TryParse(line[5..], out var tick) ? tick : 0)
        .LastOrDefault();

    public async Task TicksPastAsync(int tick) => await RealTime.UntilAsync($"tick {tick} passed", Boot, () => LastTick() > tick);

    /// <summary>Processes of this guest, and what is mounted, linked or kept for it.</summary>
    public IReadOnlyList<string> Traces() =>
    [
        .. Directory.EnumerateDirectories("/proc").Select(Path.GetFileName).Where(name => int.TryParse(name, out _))
            .Where(name => Read($"/proc/{name}/cmdline").Contains(Id.Value, StringComparison.Ordinal) || Read($"/proc/{name}/cmdline").Contains(Folder, StringComparison.Ordinal)
                || (Read($"/proc/{name}/comm").StartsWith("qemu", StringComparison.Ordinal) && IsInside(name!)))
            .Select(name => $"process {name}"),
        .. File.ReadLines("/proc/self/mounts").Where(line => line.Contains(_folder.Name, StringComparison.Ordinal)),
        .. Directory.EnumerateFileSystemEntries($"{Folder}/run"),
        .. Entries($"{Folder}/state"),
        .. Entries($"{Folder}/jails").SelectMany(Entries),
        .. Directory.EnumerateDirectories("/sys/fs/cgroup").Select(hierarchy => $"{hierarchy}/{_folder.Name}/{Id}").Where(Directory.Exists),
    ];

    public async ValueTask DisposeAsync()
    {
        await Vmm.RemoveAsync(Id, CancellationToken.None);
        Vmm.Dispose();
        if (Tap is not null)
        {
            await Shell.RunAsync("ip", "link", "del", Tap);
        }

        foreach (var group in Directory.EnumerateDirectories("/sys/fs/cgroup").Append("/sys/fs/cgroup").Select(hierarchy => $"{hierarchy}/{_folder.Name}").Where(Directory.Exists))
        {
            Directory.Delete(group);
        }

        _folder.Delete(recursive: true);
    }

    private static IEnumerable<string> Entries(string folder) => Directory.Exists(folder) ? Directory.EnumerateFileSystemEntries(folder) : [];

    private bool IsInside(string process)
    {
        try
        {
            return new DirectoryInfo($"/proc/{process}/cwd").LinkTarget?.StartsWith(Folder, StringComparison.Ordinal) == true;
        }
        catch (IOException)
        {
            return false;
        }
    }

    private static string Read(string path)
    {
        try
        {
            return File.ReadAllText(path);
        }
        catch (IOException)
        {
            return "";
        }
    }

    private string Jailer()
    {
        if (_program != FirecrackerHost.StandIn)
        {
            return Path.Combine(Path.GetDirectoryName(_program)!, "jailer");
        }

        var path = $"{Folder}/jailer";
        File.WriteAllText(path, $"#!/bin/sh\nexec '{_program}' jailer \"$@\"\n");
        File.SetUnixFileMode(path, (UnixFileMode)0x1ED);
        return path;
    }
}
