using System.Runtime.CompilerServices;
using Hypervisor.Agent.Copying;
using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Guests.Channel;
using Hypervisor.Agent.Guests.Consoles;
using Hypervisor.Agent.Logs;
using Hypervisor.Agent.Streams;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Guests;

/// <summary>The way into guests: by our init where there is one, by the serial console otherwise.</summary>
internal sealed class GuestAccess(IGuestDirectory guests, GuestChannels channels, SerialConsoles consoles, LogStore logs, TimeProvider time) : IInstanceAccess
{
    public async Task<IInstanceProcess> ExecAsync(InstanceId id, Epoch epoch, ExecInput request, CancellationToken cancellationToken)
    {
        if (request.Command.Count is 0 or > StreamLimits.Arguments || request.Command[0].Length == 0)
        {
            throw new DriverException("CommandMissing", $"command: 1 to {StreamLimits.Arguments} words are needed, the first one not empty", permanent: true);
        }

        var guest = await FindWithInitAsync(id, epoch, cancellationToken);
        return await channels.ExecAsync(id, guest.ChannelSocket, request, cancellationToken);
    }

    public async Task<IInstanceProcess> AttachAsync(InstanceId id, Epoch epoch, CancellationToken cancellationToken)
    {
        var guest = await FindAsync(id, epoch, paused: true, cancellationToken);
        if (guest.Config is not { } config)
        {
            return await consoles.AttachAsync(id, guest.ConsoleSocket, guest.ConsoleLog, cancellationToken);
        }

        var log = logs.Of(id);
        return log.CurrentRun is { } run
            ? new GuestMain(channels, id, guest.ChannelSocket, config, new RawFollower(log, id.Value, run))
            : throw NotRunning(id);
    }

    public async Task<IInstanceProcess> OpenDisplayAsync(InstanceId id, Epoch epoch, CancellationToken cancellationToken)
    {
        var guest = await FindAsync(id, epoch, paused: true, cancellationToken);
        return guest.VncSocket is { } socket
            ? await VncConnection.OpenAsync(socket, time, cancellationToken)
            : throw new DriverException("NoDisplay", "what runs it has no display; VMs have one", permanent: true);
    }

    public async Task<InstanceStats> MeasureAsync(InstanceId id, Epoch epoch, CancellationToken cancellationToken)
    {
        var guest = await FindAsync(id, epoch, paused: true, cancellationToken);
        if (guest is not { Config: not null, State: VmmState.Running })
        {
            return await guests.MeasureAsync(id, cancellationToken);
        }

        // The init sees what its kernel left over. What the kernel needs is the instance's too: it asked for a machine of this size.
        var stats = await channels.MeasureAsync(id, guest.ChannelSocket, cancellationToken);
        stats.MemoryBytes += guest.MemoryBytes - stats.MemoryLimitBytes;
        stats.MemoryLimitBytes = guest.MemoryBytes;
        return stats;
    }

    public async IAsyncEnumerable<CopyPart> CopyOutAsync(
        InstanceId id, Epoch epoch, string path, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        CheckPath(path);
        var guest = await FindWithInitAsync(id, epoch, cancellationToken);
        await using var process = await channels.ExecAsync(
            id, guest.ChannelSocket, Records.OfBuiltIn(GuestCopies.CopyOut, stdin: false, path), cancellationToken);
        await foreach (var part in GuestCopies.ReadAsync(process, cancellationToken))
        {
            yield return part;
        }
    }

    public async Task<ITreeWriter> CopyInAsync(InstanceId id, Epoch epoch, CopyToHeader header, CancellationToken cancellationToken)
    {
        CheckPath(header.Path);
        var guest = await FindWithInitAsync(id, epoch, cancellationToken);
        return new GuestTreeWriter(await channels.ExecAsync(
            id, guest.ChannelSocket, Records.OfBuiltIn(GuestCopies.CopyIn, stdin: true, header.Path, header.Name), cancellationToken));
    }

    public InstanceLog LogOf(InstanceId id) => logs.Of(id);

    private static void CheckPath(string path)
    {
        if (!path.StartsWith('/') || System.Text.Encoding.UTF8.GetByteCount(path) > StreamLimits.PathBytes)
        {
            throw RootDirectory.Invalid(path, "an absolute path of at most 4095 bytes is needed");
        }
    }

    private static DriverException NotRunning(InstanceId id) =>
        new("NotRunning", $"instance {id} does not run; start it first", permanent: false);

    private async Task<GuestView> FindWithInitAsync(InstanceId id, Epoch epoch, CancellationToken cancellationToken)
    {
        var guest = await FindAsync(id, epoch, paused: false, cancellationToken);
        return guest.Config is not null ? guest : throw new DriverException(
            "NoAccess", "it boots a disk image of its own, which has no way in but its console and its network", permanent: true);
    }

    private async Task<GuestView> FindAsync(InstanceId id, Epoch epoch, bool paused, CancellationToken cancellationToken)
    {
        var guest = await guests.FindAsync(id, cancellationToken) ?? throw NotRunning(id);
        if (guest.Epoch != epoch)
        {
            throw new DriverException("EpochMismatch", $"the call is of epoch {epoch}, the guest of epoch {guest.Epoch}", permanent: true);
        }

        return guest.State switch
        {
            VmmState.Stopped => throw NotRunning(id),
            VmmState.Paused when !paused => throw new DriverException("Paused", "it is paused; resume it first", permanent: false),
            _ => guest,
        };
    }
}
