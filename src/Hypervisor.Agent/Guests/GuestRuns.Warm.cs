using Hypervisor.Agent.Drivers;

namespace Hypervisor.Agent.Guests;

internal sealed partial class GuestRuns
{
    /// <summary>Starts the machine, from a template if that is wanted and works; its entry point has been started, or is about to be.</summary>
    private async Task<GuestRecord> BeginAsync(GuestRecord record, GuestMachine machine, CancellationToken cancellationToken)
    {
        if (!record.Held)
        {
            await vmm.StartAsync(machine, cancellationToken);
            return record;
        }

        var uid = record.Assignment.Uid;
        var config = record.Config! with { Run = record.Run };
        if (await warm.TryStartAsync(machine, store.FolderOf(uid), store.ConfigDriveOf(uid), config, cancellationToken))
        {
            try
            {
                await contact.BeginAsync(record.Id, machine.ChannelSocket, config, cancellationToken);
                return Released(record);
            }
            catch (DriverException failure)
            {
                LogNotBegun(uid, failure.Message);
                await vmm.KillAsync(record.Id, cancellationToken);
                contact.Forget(record.Id);
            }
        }

        record = Released(record);
        await vmm.StartAsync(machine, cancellationToken);
        return record;
    }

    /// <summary>The agent died while a guest held, or right after it had been let go.</summary>
    public async Task ResolveHeldAsync(GuestRecord record, VmmGuest machine, CancellationToken cancellationToken)
    {
        if (machine.State == VmmState.Running && !await HoldsAsync(record, cancellationToken))
        {
            Released(record);
            return;
        }

        // Nothing of the user's ran in it. What it was to go on from may have been half made, so it begins anew, and cold.
        await vmm.KillAsync(record.Id, cancellationToken);
        contact.Forget(record.Id);
        await StartAsync(Released(record), cancellationToken);
    }

    private async Task<bool> HoldsAsync(GuestRecord record, CancellationToken cancellationToken)
    {
        try
        {
            return await contact.HoldsAsync(record.Id, store.ChannelOf(record.Assignment.Uid), cancellationToken);
        }
        catch (DriverException)
        {
            // One that was let go answers.
            return true;
        }
    }

    private GuestRecord Released(GuestRecord record)
    {
        record = record with { Held = false };
        store.Write(record);
        return record;
    }

    [LoggerMessage(Level = LogLevel.Warning, Message = "Guest {Id} did not go on from its template and is started cold: {Detail}")]
    private partial void LogNotBegun(string id, string detail);
}
