using Hypervisor.Agent.Configuration;
using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Drivers.Firecracker;
using Hypervisor.Agent.Drivers.Qemu;
using Hypervisor.Agent.Guests.Boot;
using Hypervisor.Agent.Guests.Channel;
using Hypervisor.Agent.Guests.Consoles;
using Hypervisor.Agent.Guests.Disks;
using Hypervisor.Agent.Guests.Images;
using Hypervisor.Agent.Guests.Seeds;
using Hypervisor.Agent.Guests.Warm;
using Hypervisor.Agent.Logs;
using Hypervisor.Hosting.Randomness;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Guests;

/// <summary>What VMs and microVMs share, and microVMs.</summary>
internal static class GuestServices
{
    private const string BootIdFile = "/proc/sys/kernel/random/boot_id";

    /// <summary>There where the machine has cgroups of version 2 alone.</summary>
    private const string UnifiedCgroups = "/sys/fs/cgroup/cgroup.controllers";

    /// <summary>What all guests need, whatever runs them. Needs containerd's images, a clock, randomness and logging.</summary>
    public static IServiceCollection AddGuests(this IServiceCollection services, AgentConfiguration configuration)
    {
        // The longer it is measured, the more exact it is.
        HostTimestampCounter.Begin();
        var qemu = Qemu(configuration);
        var boot = new GuestBootFiles(configuration.GuestDirectory);
        return services
            .AddDisks(configuration.DataDirectory, configuration.RunDirectory, configuration.ImageCacheBytes)
            .AddSingleton<IDiskImages, StoredDiskImages>()
            .AddSingleton<IImageHolder, DiskHolder>()
            .AddSingleton<SeedVolume>()
            .AddSingleton<GuestChannels>()
            .AddSingleton<SerialConsoles>()
            .AddSingleton(boot)
            .AddSingleton(provider => new QemuProbe(qemu, provider.GetRequiredService<TimeProvider>()))
            .AddSingleton<IAccelerators>(provider => new AcceleratorProbe(
                configuration.Accelerator,
                Path.Combine(configuration.DataDirectory, "accelerator.json"),
                Trial(provider, configuration, boot),
                provider.GetRequiredService<TimeProvider>(),
                provider.GetRequiredService<ILogger<AcceleratorProbe>>()));
    }

    private static NodeTrial Trial(IServiceProvider provider, AgentConfiguration configuration, GuestBootFiles boot)
    {
        var time = provider.GetRequiredService<TimeProvider>();
        return new NodeTrial(
            new QemuTrial(
                Qemu(configuration), provider.GetRequiredService<QemuProbe>(), boot, BootId(), Path.Combine(configuration.RunDirectory, "trial-qemu"), time),
            new FirecrackerTrial(Firecracker(configuration), boot, Path.Combine(configuration.RunDirectory, "trial"), time),
            () => configuration.Microvm.Driver switch
            {
                MicrovmDriver.Firecracker => true,
                MicrovmDriver.Qemu => false,
                _ => ProgramSearch.Find(configuration.QemuProgram) is null && ProgramSearch.Find(configuration.Microvm.Firecracker) is not null,
            });
    }

    /// <summary>microVMs by QEMU or Firecracker. Needs <see cref="AddGuests"/>.</summary>
    public static IServiceCollection AddMicrovms(this IServiceCollection services, AgentConfiguration configuration) => services
        .AddSingleton<IInstanceDriver>(provider =>
        {
            var time = provider.GetRequiredService<TimeProvider>();
            var accelerators = provider.GetRequiredService<IAccelerators>();
            var qemu = QemuServices.Create(Qemu(configuration), provider.GetRequiredService<QemuProbe>(), time);
            var firecracker = FirecrackerServices.Create(Firecracker(configuration), time);
            return Driver(provider, configuration, "microvm", "m", new VmmChoice([qemu, firecracker], () => configuration.Microvm.Driver switch
            {
                MicrovmDriver.Qemu => qemu,
                MicrovmDriver.Firecracker => firecracker,
                _ => accelerators.Known?.Accelerator == Accelerator.Kvm && ProgramSearch.Find(configuration.Microvm.Firecracker) is not null ? firecracker : qemu,
            }));
        });

    /// <summary>A driver over one VMM, or a choice of them, with folders and logs of its own type alone.</summary>
    /// <param name="name">Of the type's folder below {data}/guests and {data}/logs.</param>
    /// <param name="shortName">Likewise below {run}, where socket paths have to be short.</param>
    public static IInstanceDriver Driver(IServiceProvider provider, AgentConfiguration configuration, string name, string shortName, IVmm vmm)
    {
        var time = provider.GetRequiredService<TimeProvider>();
        var options = new GuestOptions
        {
            DataDirectory = Path.Combine(configuration.DataDirectory, "guests", name),
            RunDirectory = Path.Combine(configuration.RunDirectory, shortName),
            Boot = provider.GetRequiredService<GuestBootFiles>(),
            DnsServers = configuration.Network.DnsServers,
            BootId = BootId(),
        };
        var store = new GuestStore(options);
        var logs = new LogStore(
            Path.Combine(configuration.DataDirectory, "logs", name), configuration.Logs, time, provider.GetRequiredService<ILogger<LogStore>>());
        var channels = provider.GetRequiredService<GuestChannels>();
        var accelerators = provider.GetRequiredService<IAccelerators>();
        var drives = new ConfigDrives(provider.GetRequiredService<IRandomSource>());
        var disks = new GuestDisks(
            provider.GetRequiredService<InstanceDisks>(), provider.GetRequiredService<DiskSnapshots>(), provider.GetRequiredService<SeedVolume>(), options);
        var contact = new GuestContact(vmm, channels);
        var runs = new GuestRuns(
            vmm,
            options,
            store,
            drives,
            contact,
            accelerators,
            new WarmStarts(
                vmm,
                new WarmTemplates(Path.Combine(configuration.DataDirectory, "warm", name), time),
                options.Boot,
                options.BootId,
                drives,
                contact,
                provider.GetRequiredService<ILogger<WarmStarts>>()),
            logs,
            time,
            provider.GetRequiredService<ILogger<GuestRuns>>());
        return new GuestDriver(
            vmm,
            options,
            store,
            runs,
            new GuestSnapshots(vmm, store, runs, disks, drives, time, provider.GetRequiredService<ILogger<GuestSnapshots>>()),
            provider.GetRequiredService<IGuestImages>(),
            disks,
            accelerators,
            logs,
            new GuestAccess(new GuestDirectory(vmm, store), channels, provider.GetRequiredService<SerialConsoles>(), logs, time));
    }

    private static string BootId() => File.ReadAllText(BootIdFile).Trim();

    private static QemuOptions Qemu(AgentConfiguration configuration) => new()
    {
        Program = configuration.QemuProgram,
        StateDirectory = Path.Combine(configuration.RunDirectory, "qemu"),
        CgroupParent = CgroupParent(configuration),
    };

    private static FirecrackerOptions Firecracker(AgentConfiguration configuration) => new()
    {
        Program = configuration.Microvm.Firecracker,
        Jailer = ProgramSearch.Find(configuration.Microvm.Jailer) is null
            ? null
            : new JailerOptions
            {
                Program = configuration.Microvm.Jailer,
                ChrootBase = Path.Combine(configuration.DataDirectory, "jails"),
                CgroupVersion = File.Exists(UnifiedCgroups) ? 2 : 1,
            },
        StateDirectory = Path.Combine(configuration.RunDirectory, "firecracker"),
        CgroupParent = CgroupParent(configuration),
    };

    /// <summary>Beside that of containers: what is in that one is taken for containers.</summary>
    private static string CgroupParent(AgentConfiguration configuration) => configuration.Containerd.CgroupParent + "-guests";
}
