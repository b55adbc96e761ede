using Hypervisor.Agent.Drivers.Containerd.Connection;
using Hypervisor.Agent.Images;
using Hypervisor.Hosting.Randomness;

namespace Hypervisor.Agent.Guests.Disks;

internal static class DisksServices
{
    /// <summary>
    /// Disks of guests. Needs <c>AddContainerd</c>, <see cref="IDiskImages"/>, a clock, randomness and logging; touches nothing until it is used.
    /// </summary>
    /// <param name="runDirectory">The agent's, which does not survive a reboot.</param>
    /// <param name="cacheBytes">What root file systems may take before unused ones are removed; 0 means without limit.</param>
    public static IServiceCollection AddDisks(this IServiceCollection services, string dataDirectory, string runDirectory, long cacheBytes) => services
        .AddSingleton<DiskTool>()
        .AddSingleton<QemuImg>()
        .AddSingleton<RootFileSystemBuilder>()
        .AddSingleton<DiskSnapshots>()
        .AddSingleton<InstanceDisks>()
        .AddSingleton(provider => new DiskQuarantine(Path.Combine(dataDirectory, "quarantine"), provider.GetRequiredService<TimeProvider>()))
        .AddSingleton(provider => new HeldImages(Path.Combine(dataDirectory, "guests"), provider.GetRequiredService<DiskQuarantine>()))
        .AddSingleton<IImageTrees>(provider => new ContainerdImageTrees(
            provider.GetRequiredService<ContainerdClient>(),
            provider.GetRequiredService<ImageStore>(),
            Path.Combine(runDirectory, "rootfs"),
            provider.GetRequiredService<TimeProvider>(),
            provider.GetRequiredService<IRandomSource>()))
        .AddSingleton(provider => new RootFileSystems(
            Path.Combine(dataDirectory, "images", "rootfs", "sha256"),
            provider.GetRequiredService<IImageTrees>(),
            provider.GetRequiredService<RootFileSystemBuilder>(),
            cacheBytes,
            provider.GetRequiredService<HeldImages>().HeldAsync,
            provider.GetRequiredService<TimeProvider>(),
            provider.GetRequiredService<IRandomSource>(),
            provider.GetRequiredService<ILogger<RootFileSystems>>()))
        .AddSingleton<IGuestImages, GuestImages>();
}

/// <summary>Which images disks on this node lie over.</summary>
/// <param name="guests">"{data}/guests": a folder for each type, and in it one for each instance.</param>
internal sealed class HeldImages(string guests, DiskQuarantine quarantine)
{
    /// <exception cref="Drivers.DriverException">Nobody can tell: no image may be removed.</exception>
    public Task<IReadOnlySet<string>> HeldAsync(CancellationToken cancellationToken) => Task.FromResult(
        InstanceDisks.Held((Directory.Exists(guests) ? Directory.EnumerateDirectories(guests).SelectMany(Directory.EnumerateDirectories) : []).Concat(quarantine.Folders())));
}
