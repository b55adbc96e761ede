using Hypervisor.Agent.Guests;
using Hypervisor.Agent.Native;
using Hypervisor.Protocol;

namespace Hypervisor.Agent.Drivers.Qemu;

internal sealed partial class QemuVmm
{
    /// <summary>Without a limit QEMU takes itself for a live migration, and is content with 128 MiB/s.</summary>
    private const long Unlimited = long.MaxValue;

    /// <summary>The state of a machine that reads what it shall go on with.</summary>
    private const string Incoming = "inmigrate";

    /// <summary>As a migration to a file: QEMU is given the file, since its sandbox lets it start no program to write one.</summary>
    public async Task SaveAsync(InstanceId id, string path, CancellationToken cancellationToken)
    {
        var record = Running(id);
        var temporary = path + WholeFile.TemporarySuffix;
        File.Delete(temporary);
        try
        {
            using (var file = new FileStream(temporary, new FileStreamOptions
            {
                Mode = FileMode.CreateNew,
                Access = FileAccess.ReadWrite,
                UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite,
            }))
            {
                await CallAsync(record, async client =>
                {
                    if (record.KeepsMemory)
                    {
                        await LeaveSharedMemoryOutAsync(client, true, cancellationToken);
                    }

                    await MigrateAsync(client, file, cancellationToken);
                    return true;
                }, cancellationToken);
                file.Flush(flushToDisk: true);
            }

            File.Move(temporary, path, overwrite: true);
            LinuxFile.SyncDirectory(Path.GetDirectoryName(path)!);
        }
        catch
        {
            File.Delete(temporary);
            throw;
        }
    }

    /// <summary>Once QEMU has read all of the memory, which is what its standard input holds.</summary>
    private async Task GoOnAsync(QemuRecord record, GuestMachine machine, CancellationToken cancellationToken)
    {
        await AwaitStateAsync(record, Incoming, cancellationToken);
        if (!machine.StayPaused)
        {
            await CommandAsync(record, "cont", cancellationToken);
        }
    }

    /// <summary>Likewise, where the memory lies in a file: the rest is read in a moment, for which nobody else need be let in.</summary>
    /// <remarks>QEMU reads its monitor byte by byte, with half a dozen system calls for each: what can wait is said while the guest runs.</remarks>
    private async Task GoOnFromFileAsync(QmpClient client, GuestMachine machine, CancellationToken cancellationToken)
    {
        await LeaveSharedMemoryOutAsync(client, true, cancellationToken);
        (await client.CallAsync("migrate-incoming", json => json.WriteString("uri", "fd:0"), cancellationToken)).Dispose();
        using (var deadline = new CancellationTokenSource(QemuLimits.Transfer, time))
        {
            while (await StateAsync(client, cancellationToken) == Incoming)
            {
                ThrowIfLate(deadline.Token);
                await Task.Delay(QemuLimits.ShortTransferPoll, time, cancellationToken);
            }
        }

        if (!machine.StayPaused)
        {
            (await client.CallAsync("cont", null, cancellationToken)).Dispose();
        }

        await LeaveSharedMemoryOutAsync(client, false, cancellationToken);
    }

    /// <summary>Both sides of a file have to be told; whoever writes one that is whole must not be.</summary>
    private static async Task LeaveSharedMemoryOutAsync(QmpClient client, bool leaveOut, CancellationToken cancellationToken)
    {
        using var answer = await client.CallAsync(
            "migrate-set-capabilities",
            json =>
            {
                json.WriteStartArray("capabilities");
                json.WriteStartObject();
                json.WriteString("capability", "x-ignore-shared");
                json.WriteBoolean("state", leaveOut);
                json.WriteEndObject();
                json.WriteEndArray();
            },
            cancellationToken);
    }

    private async Task MigrateAsync(QmpClient client, FileStream file, CancellationToken cancellationToken)
    {
        (await client.CallAsync("migrate-set-parameters", json => json.WriteNumber("max-bandwidth", Unlimited), cancellationToken)).Dispose();
        (await client.CallAsync("getfd", json => json.WriteString("fdname", "memory"), cancellationToken, file.SafeFileHandle)).Dispose();
        (await client.CallAsync("migrate", json => json.WriteString("uri", "fd:memory"), cancellationToken)).Dispose();
        using var deadline = new CancellationTokenSource(QemuLimits.Transfer, time);
        while (true)
        {
            using var answer = await client.CallAsync("query-migrate", null, cancellationToken);
            var told = answer.RootElement.GetProperty("return");
            switch (told.TryGetProperty("status", out var status) ? status.GetString() : null)
            {
                case "completed":
                    return;
                case "failed" or "cancelled":
                    var why = told.TryGetProperty("error-desc", out var words) ? words.GetString() : "no reason given";
                    throw new DriverException(GuestLimits.VmmFailed, $"QEMU could not write the guest's memory: {why}", permanent: false);
            }

            if (deadline.IsCancellationRequested || cancellationToken.IsCancellationRequested)
            {
                (await client.CallAsync("migrate_cancel", null, CancellationToken.None)).Dispose();
                cancellationToken.ThrowIfCancellationRequested();
                throw new DriverException(
                    GuestLimits.VmmFailed, $"QEMU has not written the guest's memory within {QemuLimits.Transfer.TotalMinutes:0} min", permanent: false);
            }

            await Task.Delay(QemuLimits.TransferPoll, time, CancellationToken.None);
        }
    }
}
