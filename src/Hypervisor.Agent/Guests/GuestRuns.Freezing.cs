using Hypervisor.Agent.Drivers;

namespace Hypervisor.Agent.Guests;

internal sealed partial class GuestRuns
{
    /// <summary>Has a guest that runs write everything to its disks and hold all writing until it goes on.</summary>
    /// <returns>False when nobody in the guest did so: its disks are then as after a power cut, which is no reason to leave them out.</returns>
    public async Task<bool> FreezeAsync(GuestRecord record, CancellationToken cancellationToken)
    {
        var uid = record.Assignment.Uid;
        if (record.Config is null)
        {
            return (vmm.Abilities & VmmAbilities.GuestAgent) != 0 && await FreezeByItsAgentAsync(record, cancellationToken);
        }

        using var deadline = new CancellationTokenSource(GuestLimits.Freeze, time);
        using var linked = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, deadline.Token);
        try
        {
            await contact.FreezeAsync(record.Id, store.ChannelOf(uid), linked.Token);
            return true;
        }
        catch (Exception failure) when (failure is DriverException or OperationCanceledException && !cancellationToken.IsCancellationRequested)
        {
            LogNotFrozen(uid, failure.Message);
            return false;
        }
    }

    /// <summary>Lets a guest write again that its own agent may have frozen.</summary>
    /// <returns>The record as it is now; still frozen when the agent did not answer, which is to be tried again.</returns>
    public async Task<GuestRecord> ThawAsync(GuestRecord record, CancellationToken cancellationToken)
    {
        if (record.FrozenAt is not { } since)
        {
            return record;
        }

        try
        {
            await vmm.ThawAsync(record.Id, cancellationToken);
        }
        catch (DriverException failure)
        {
            LogNotThawed(record.Assignment.Uid, failure.Message);
            if (time.GetUtcNow() - since < GuestLimits.Thaw)
            {
                return record;
            }
        }

        record = record with { FrozenAt = null };
        store.Write(record);
        return record;
    }

    /// <summary>
    /// A guest that holds all writing cannot end, and for a moment after it went on its agent is not heard. Nobody else lets it write while it is being
    /// stopped.
    /// </summary>
    private async Task<GuestRecord> AwaitThawAsync(GuestRecord record, TimeSpan patience, CancellationToken cancellationToken)
    {
        for (var began = time.GetTimestamp(); record.FrozenAt is not null && time.GetElapsedTime(began) < patience;)
        {
            record = await ThawAsync(record, cancellationToken);
            if (record.FrozenAt is not null)
            {
                await Task.Delay(GuestLimits.ThawPoll, time, cancellationToken);
            }
        }

        return record;
    }

    private async Task<bool> FreezeByItsAgentAsync(GuestRecord record, CancellationToken cancellationToken)
    {
        // First, so that an agent of ours that dies here is followed by one that lets it go on.
        record = record with { FrozenAt = time.GetUtcNow() };
        store.Write(record);
        if (await vmm.FreezeAsync(record.Id, cancellationToken))
        {
            return true;
        }

        LogNotFrozen(record.Assignment.Uid, "no guest agent in it did so");
        await ThawAsync(record, cancellationToken);
        return false;
    }

    [LoggerMessage(Level = LogLevel.Information, Message = "Guest {Id} is not quiesced for a snapshot: {Detail}")]
    private partial void LogNotFrozen(string id, string detail);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Guest {Id} may still hold all writing: {Detail}")]
    private partial void LogNotThawed(string id, string detail);
}
