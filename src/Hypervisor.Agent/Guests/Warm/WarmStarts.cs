using System.Globalization;
using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Guests.Boot;
using Hypervisor.Agent.Guests.Disks;
using Hypervisor.Protocol;

namespace Hypervisor.Agent.Guests.Warm;

/// <summary>Starts guests from the memory of one that was stopped just before its entry point. See docs/decisions/0012-warm-start.md.</summary>
/// <remarks>
/// The first guest of a kind makes the template: it boots with its memory in a shared file and holds, is saved without that memory, and goes
/// on from the template as all others do. Whatever goes wrong, the guest is started in the ordinary way.
/// </remarks>
internal sealed partial class WarmStarts(
    IVmm vmm, WarmTemplates templates, GuestBootFiles boot, string bootId, IConfigDrives drives, IGuestContact contact, ILogger<WarmStarts> log) : IDisposable
{
    /// <summary>One template is made at a time: who needs the same one waits for it.</summary>
    private readonly SemaphoreSlim _making = new(1, 1);

    /// <summary>
    /// Only a guest's first run: its root disk is replaced by the template's. Memory knows of no disks but the root file system's.
    /// </summary>
    public static bool IsWanted(GuestRecord record, VmmAbilities abilities) =>
        record is { Suspended: false, Config.DriveBytes: WarmLimits.DriveBytes, Run: 0, LastRun: 0, Disks: [{ Name: DiskPlan.Root, Format: DiskFormat.Qcow2 }, _] }
        && record.Assignment.Spec.Source is null
        && (abilities & VmmAbilities.SharedMemory) != 0;

    /// <summary>What a guest is told until it becomes somebody: it has no address, and a machine id that the real one is written over.</summary>
    private static readonly GuestConfig Nobody = new()
    {
        Run = 0,
        Uid = "00000000-0000-0000-0000-000000000000",
        Hostname = "warm",
        Arguments = ["true"],
        MachineId = new string('0', 32),
        HoldBeforeStart = true,
        DriveBytes = WarmLimits.DriveBytes,
    };

    /// <summary>Goes on from a template, which is made when there is none. The guest holds afterwards.</summary>
    /// <param name="machine">As it would be started cold.</param>
    /// <param name="folder">Of the guest.</param>
    /// <param name="config">Already on the config drive.</param>
    /// <returns>False when it has to be started cold; nothing of it runs then.</returns>
    public async Task<bool> TryStartAsync(GuestMachine machine, string folder, string configDrive, GuestConfig config, CancellationToken cancellationToken)
    {
        if (DiskFolder.Load(folder).Find(DiskPlan.Root) is not { Origin: { } origin } root || new FileInfo(configDrive).Length != WarmLimits.DriveBytes)
        {
            return false;
        }

        var monitor = await vmm.ProbeAsync(cancellationToken);
        var key = WarmKey.Of(machine, origin, root.SizeBytes, $"{Stamp(boot.Kernel)} {Stamp(boot.Initramfs)}", $"{monitor.Driver} {monitor.Version}", bootId);
        try
        {
            var template = templates.Find(key) ?? await EnsureAsync(key, machine, configDrive, config, cancellationToken);
            await CopyAsync(template.Root, machine.Disks[0].Path, cancellationToken);
            await vmm.StartAsync(
                machine with { RestoreFrom = template.State, Memory = new GuestMemoryFile(template.Memory, IsPrivate: true) }, cancellationToken);
            return true;
        }
        catch (Exception failure) when (failure is DriverException or IOException)
        {
            LogCold(machine.Id.Value, failure.Message);
            await GiveUpAsync(key, machine.Id, cancellationToken);
            return false;
        }
    }

    public void Dispose() => _making.Dispose();

    /// <summary>One that nothing can go on from is made anew by the next guest.</summary>
    private async Task GiveUpAsync(string key, InstanceId id, CancellationToken cancellationToken)
    {
        await _making.WaitAsync(cancellationToken);
        try
        {
            templates.Remove(key);
        }
        finally
        {
            _making.Release();
        }

        await vmm.KillAsync(id, cancellationToken);
        contact.Forget(id);
    }

    private async Task<WarmTemplate> EnsureAsync(string key, GuestMachine machine, string configDrive, GuestConfig config, CancellationToken cancellationToken)
    {
        await _making.WaitAsync(cancellationToken);
        try
        {
            return templates.Find(key) ?? await MakeAsync(key, machine, configDrive, config, cancellationToken);
        }
        finally
        {
            _making.Release();
        }
    }

    private async Task<WarmTemplate> MakeAsync(string key, GuestMachine machine, string configDrive, GuestConfig config, CancellationToken cancellationToken)
    {
        var template = templates.Begin(key, machine.Limits.MemoryBytes);

        // Its program only, which is read ahead, and its limit, which is put in force: others may have other ones.
        drives.Write(configDrive, Nobody with { Arguments = [config.Arguments[0]], PidsLimit = config.PidsLimit });
        try
        {
            await vmm.StartAsync(machine with { Memory = new GuestMemoryFile(template.Memory, IsPrivate: false) }, cancellationToken);
            await contact.ReachAsync(machine.Id, machine.ChannelSocket, cancellationToken);
            contact.Forget(machine.Id);
            await vmm.PauseAsync(machine.Id, cancellationToken);
            await vmm.SaveAsync(machine.Id, template.State, cancellationToken);
            await vmm.KillAsync(machine.Id, cancellationToken);
            await CopyAsync(machine.Disks[0].Path, template.Root, cancellationToken);
            return templates.Finish(key);
        }
        finally
        {
            // Also when nobody waits any more: this is no guest yet.
            await vmm.RemoveAsync(machine.Id, CancellationToken.None);
            contact.Forget(machine.Id);
            drives.Write(configDrive, config);
        }
    }

    /// <summary>As a whole: a disk that was half copied when the agent died would be taken for the guest's.</summary>
    private static async Task CopyAsync(string from, string to, CancellationToken cancellationToken)
    {
        var temporary = to + Native.WholeFile.TemporarySuffix;
        File.Delete(temporary);
        await DiskFiles.CopyAsync(from, temporary, cancellationToken);
        File.SetUnixFileMode(temporary, DiskFiles.OwnerOnly);
        File.Move(temporary, to, overwrite: true);
    }

    private static string Stamp(string path)
    {
        var file = new FileInfo(path);
        return string.Create(CultureInfo.InvariantCulture, $"{path} {file.Length} {file.LastWriteTimeUtc.Ticks}");
    }

    [LoggerMessage(Level = LogLevel.Warning, Message = "Guest {Id} is started cold: {Detail}")]
    private partial void LogCold(string id, string detail);
}
