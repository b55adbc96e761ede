using Hypervisor.Agent.Drivers.Firecracker.Api;
using Hypervisor.Agent.Guests;

namespace Hypervisor.Agent.Drivers.Firecracker;

/// <summary>The calls, in their order, that make a machine out of a Firecracker process that has just been started.</summary>
internal static class MachineCalls
{
    public static Task StartAsync(FirecrackerClient client, GuestMachine machine, FirecrackerOptions options, CancellationToken cancellationToken) =>
        machine.RestoreFrom is null ? BootAsync(client, machine, options, cancellationToken) : RestoreAsync(client, machine, options, cancellationToken);

    /// <summary>The settings that any machine has, then what it boots, then the start.</summary>
    private static async Task BootAsync(
        FirecrackerClient client, GuestMachine machine, FirecrackerOptions options, CancellationToken cancellationToken)
    {
        await ObserveAsync(client, options, cancellationToken);
        await client.ConfigureAsync(MachineRules.Configuration(machine, options.TrackDirtyPages), cancellationToken);
        await client.BootFromAsync(MachineRules.BootSource(machine.Boot!), cancellationToken);
        foreach (var drive in MachineRules.Drives(machine))
        {
            await client.AddDriveAsync(drive, cancellationToken);
        }

        if (machine.Nic is { } nic)
        {
            var version = await client.VersionAsync(cancellationToken);
            await client.AddNetworkInterfaceAsync(MachineRules.Interface(nic, version), cancellationToken);
        }

        await client.AddVsockAsync(new VsockBody(MachineRules.GuestContextId, GuestFiles.ChannelSocket), cancellationToken);

        // Of no size: it takes memory from a guest only when it is told to. Counting would wake idle guests.
        await client.AddBalloonAsync(new BalloonBody(AmountMib: 0, DeflateOnOom: true, StatsPollingIntervalS: 0), cancellationToken);
        await client.AddEntropyAsync(new EntropyBody(RateLimiter: null), cancellationToken);
        await client.ActAsync(ActionBody.InstanceStart, cancellationToken);
    }

    private static async Task RestoreAsync(
        FirecrackerClient client, GuestMachine machine, FirecrackerOptions options, CancellationToken cancellationToken)
    {
        await ObserveAsync(client, options, cancellationToken);
        await client.LoadSnapshotAsync(MachineRules.Load(machine, options.TrackDirtyPages), cancellationToken);
    }

    private static async Task ObserveAsync(FirecrackerClient client, FirecrackerOptions options, CancellationToken cancellationToken)
    {
        await client.LogAsync(new LoggerBody(GuestFiles.Log, "Warning", ShowLevel: true), cancellationToken);
        if (options.Metrics)
        {
            await client.MeasureAsync(new MetricsBody(GuestFiles.Metrics), cancellationToken);
        }
    }
}
