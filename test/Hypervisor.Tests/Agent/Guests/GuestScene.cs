using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Guests;
using Hypervisor.Agent.Guests.Boot;
using Hypervisor.Agent.Guests.Warm;
using Hypervisor.Agent.Images;
using Hypervisor.Agent.Logs;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Time.Testing;

namespace Hypervisor.Tests.Agent.Guests;

/// <summary>A node with guests: what outlives an agent, and agents over it.</summary>
internal sealed class GuestScene : IDisposable, IGuestImages, IGuestDisks, IConfigDrives, IGuestContact, IAccelerators
{
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("guests-");
    private readonly Dictionary<(string Path, long Run), NotedExit> _exits = [];
    private LogStore _logs = null!;

    public GuestScene() => NewAgent();

    public InstanceId Id { get; } = new("11111111-2222-4333-8444-555555555555");

    public FakeVmm Vmm { get; } = new();

    public FakeTimeProvider Time { get; } = new(DateTimeOffset.UnixEpoch.AddYears(50));

    public GuestDriver Driver { get; private set; } = null!;

    public GuestStore Store { get; private set; } = null!;

    public string BootId { get; set; } = "first";

    /// <summary>What the image is: null for one that boots itself.</summary>
    public ImageDefaults? Process { get; set; } = new([], ["serve"], [], "", "", "");

    public AcceleratorFinding Finding { get; set; } = new(Accelerator.Tcg, "");

    public AcceleratorFinding? Known => Finding;

    public bool InitAnswers { get; set; } = true;

    /// <summary>What an init that is asked says of itself.</summary>
    public bool Holds { get; set; }

    /// <summary>Who guests that held were told to be.</summary>
    public List<GuestConfig> Begun { get; } = [];

    public List<int> Signals { get; } = [];

    /// <summary>How often a guest was told the time anew.</summary>
    public int Refreshes { get; private set; }

    /// <summary>How often the init was asked to freeze.</summary>
    public int Freezes { get; private set; }

    /// <summary>What the guest does with a signal.</summary>
    public Action<int> OnSignal { get; set; } = _ => { };

    public List<GuestConfig> Configs { get; } = [];

    public string GuestsFolder => Path.Combine(_folder.FullName, "data");

    public IEnumerable<string> Leftovers =>
        Directory.EnumerateFileSystemEntries(_folder.FullName, "*", SearchOption.AllDirectories)
            .Where(path => path.Contains(Id.Value, StringComparison.Ordinal))
            .Concat(Vmm.Guests.Select(guest => guest.ToString()));

    /// <summary>The agent is started again: nothing of what it knew is left but what is on disk.</summary>
    public void NewAgent()
    {
        _logs?.Dispose();
        var options = new GuestOptions
        {
            DataDirectory = GuestsFolder,
            RunDirectory = Path.Combine(_folder.FullName, "run"),
            Boot = new GuestBootFiles("/boot"),
            BootId = BootId,
        };
        Store = new GuestStore(options);
        _logs = new LogStore(Path.Combine(_folder.FullName, "logs"), LogLimits.Default, Time, NullLogger<LogStore>.Instance);
        var warm = new WarmStarts(
            Vmm, new WarmTemplates(Path.Combine(_folder.FullName, "warm"), Time), options.Boot, BootId, this, this, NullLogger<WarmStarts>.Instance);
        var runs = new GuestRuns(Vmm, options, Store, this, this, this, warm, _logs, Time, NullLogger<GuestRuns>.Instance);
        var snapshots = new GuestSnapshots(Vmm, Store, runs, this, this, Time, NullLogger<GuestSnapshots>.Instance);
        Driver = new GuestDriver(Vmm, options, Store, runs, snapshots, this, this, this, _logs, null);
    }

    public InstanceDefinition Definition(long epoch = 5, string digest = "sha256:1", Action<Assignment>? change = null)
    {
        var assignment = new Assignment
        {
            Uid = Id.Value,
            Name = "web",
            Project = "default",
            Generation = 1,
            Epoch = epoch,
            Spec = new InstanceSpec { Type = InstanceType.Microvm, Image = "web", Resources = new Resources { CpuMillicores = 1500, MemoryBytes = 64 << 20 } },
        };
        change?.Invoke(assignment);
        return new InstanceDefinition(assignment, digest, null);
    }

    public async Task RunAsync(long epoch = 5)
    {
        await Driver.CreateAsync(Definition(epoch), default);
        await Driver.StartAsync(Id, new Epoch(epoch), default);
    }

    public async Task<DriverInstance?> SeenAsync() => await Driver.GetAsync(Id, default);

    /// <summary>The main process ended: the init writes so and powers off.</summary>
    public void Exit(int code, int signal = 0, string reason = "")
    {
        _exits[(Store.ConfigDriveOf(Id.Value), Configs[^1].Run)] = new NotedExit(code, signal) { Reason = reason };
        Vmm.End(Id, poweredOff: true);
    }

    /// <summary>Lets time pass until a call has ended.</summary>
    public async Task<T> PassAsync<T>(Task<T> call)
    {
        for (var step = 0; !call.IsCompleted && step < 1_000_000; step++)
        {
            Time.Advance(TimeSpan.FromMilliseconds(20));
            await Task.Yield();
        }

        return await call;
    }

    public async Task PassAsync(Task call) => await PassAsync(Wrapped(call));

    public void Dispose()
    {
        _logs.Dispose();
        _folder.Delete(recursive: true);
    }

    Task<GuestImage> IGuestImages.OpenAsync(string digest, CancellationToken cancellationToken)
    {
        Vmm.At("image");
        return Task.FromResult(new GuestImage(digest, $"/images/{digest}", DiskFormat.Raw, 1 << 20, Process));
    }

    Task<IReadOnlyList<GuestDisk>> IGuestDisks.EnsureAsync(
        string folder, InstanceDefinition definition, GuestImage image, VmmAbilities abilities, CancellationToken cancellationToken)
    {
        Vmm.At("before disks");
        if (!File.Exists(FakeDisks.ActiveOf(folder)))
        {
            File.WriteAllText(FakeDisks.ActiveOf(folder), image.Digest);
        }

        Vmm.At("after disks");
        return Task.FromResult<IReadOnlyList<GuestDisk>>([new GuestDisk("root", FakeDisks.ActiveOf(folder), DiskFormat.Qcow2)]);
    }

    void IGuestDisks.Remove(string folder) => FakeDisks.Remove(folder);

    IReadOnlyList<GuestDisk> IGuestDisks.Present(string folder, IReadOnlyList<GuestDisk> disks) =>
        [.. disks.Select(disk => disk.Name == "root" ? disk with { Path = FakeDisks.ActiveOf(folder) } : disk)];

    Task<long> IGuestDisks.SnapshotAsync(string folder, string snapshot, CancellationToken cancellationToken)
    {
        Vmm.At("before snapshot");
        FakeDisks.Snapshot(folder, snapshot);
        Vmm.At("after snapshot");
        return Task.FromResult(7L);
    }

    void IGuestDisks.DeleteSnapshot(string folder, string snapshot) => FakeDisks.Delete(folder, snapshot);

    Task IGuestDisks.RestoreAsync(string folder, string snapshot, CancellationToken cancellationToken)
    {
        Vmm.At("before restore");
        FakeDisks.Restore(folder, snapshot);
        Vmm.At("after restore");
        return Task.CompletedTask;
    }

    Task IGuestDisks.CloneAsync(string source, string snapshot, string folder, GuestImage image, CancellationToken cancellationToken)
    {
        Vmm.At("before clone");
        FakeDisks.Clone(source, snapshot, folder);
        Vmm.At("after clone");
        return Task.CompletedTask;
    }

    void IConfigDrives.Write(string path, GuestConfig config)
    {
        Vmm.At("before config");
        File.WriteAllText(path, "config");
        foreach (var old in _exits.Keys.Where(exit => exit.Path == path).ToList())
        {
            _exits.Remove(old);
        }

        Configs.Add(config);
        Vmm.At("after config");
    }

    NotedExit? IConfigDrives.ReadExit(string path, long run) => _exits.GetValueOrDefault((path, run));

    async Task IGuestContact.ReachAsync(InstanceId id, string channelSocket, CancellationToken cancellationToken)
    {
        if (!InitAnswers)
        {
            await Task.Delay(Timeout.InfiniteTimeSpan, RealClock.Instance, cancellationToken);
        }
    }

    Task IGuestContact.SignalAsync(InstanceId id, string channelSocket, int signal, CancellationToken cancellationToken)
    {
        if (!InitAnswers)
        {
            throw new DriverException("GuestNotReachable", "no answer", permanent: false);
        }

        Signals.Add(signal);
        OnSignal(signal);
        return Task.CompletedTask;
    }

    Task IGuestContact.FreezeAsync(InstanceId id, string channelSocket, CancellationToken cancellationToken)
    {
        Vmm.At("before freeze");
        if (!InitAnswers)
        {
            throw new DriverException("GuestNotReachable", "no answer", permanent: false);
        }

        Freezes++;
        return Task.CompletedTask;
    }

    Task<bool> IGuestContact.HoldsAsync(InstanceId id, string channelSocket, CancellationToken cancellationToken) => Task.FromResult(Holds);

    Task IGuestContact.BeginAsync(InstanceId id, string channelSocket, GuestConfig config, CancellationToken cancellationToken)
    {
        Vmm.At("before begin");
        Begun.Add(config);
        Holds = false;
        return Task.CompletedTask;
    }

    Task IGuestContact.RefreshAsync(InstanceId id, string channelSocket, CancellationToken cancellationToken)
    {
        Refreshes++;
        return Task.CompletedTask;
    }

    void IGuestContact.Forget(InstanceId id)
    {
    }

    Task<AcceleratorFinding> IAccelerators.FindAsync(CancellationToken cancellationToken) => Task.FromResult(Finding);

    Task<long?> IAccelerators.CounterRateAsync(CancellationToken cancellationToken) => Task.FromResult<long?>(null);

    private static async Task<bool> Wrapped(Task call)
    {
        await call;
        return true;
    }
}
