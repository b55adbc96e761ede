using System.Buffers.Binary;
using System.Collections.Concurrent;
using Google.Protobuf.WellKnownTypes;
using Hypervisor.Agent.Drivers;
using Hypervisor.Hosting.Randomness;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Guests.Channel;

/// <summary>The connections to the inits of this node's guests: at most one per guest, made when it is needed and made anew when it broke.</summary>
/// <remarks>
/// A socket is a path, or <see cref="GuestChannel.VsockPrefix"/> and a path. Every method fails with <see cref="DriverException"/>, reason
/// GuestNotReachable, when the guest does not answer in time.
/// </remarks>
internal sealed class GuestChannels(IRandomSource random, TimeProvider time) : IAsyncDisposable
{
    private const int Statistics = 11;
    private const int EntropyBytes = 64;

    private readonly ConcurrentDictionary<InstanceId, Slot> _slots = new();

    /// <summary>What the init says of itself now: a fresh greeting, which ends additional processes, is only made where there is no connection.</summary>
    public async Task<InitState> StateAsync(InstanceId id, string channelSocket, CancellationToken cancellationToken) =>
        (await OpenAsync(id, channelSocket, cancellationToken)).State;

    /// <summary>Until the init of a guest that was just started answers; a guest under emulation takes seconds.</summary>
    /// <exception cref="DriverException">GuestNotReachable: not within <paramref name="patience"/>.</exception>
    public async Task<InitState> WaitAsync(InstanceId id, string channelSocket, TimeSpan patience, CancellationToken cancellationToken)
    {
        var began = time.GetTimestamp();
        while (true)
        {
            try
            {
                return await StateAsync(id, channelSocket, cancellationToken);
            }
            catch (DriverException failure) when (failure.Reason == "GuestNotReachable" && time.GetElapsedTime(began) < patience)
            {
                await Task.Delay(ChannelLimits.Retry, time, cancellationToken);
            }
        }
    }

    /// <summary>To the main process.</summary>
    public async Task SignalAsync(InstanceId id, string channelSocket, int signal, CancellationToken cancellationToken)
    {
        var channel = await OpenAsync(id, channelSocket, cancellationToken);
        await channel.SendAsync(FrameType.Signal, 0, new[] { (byte)signal }, cancellationToken);
        try
        {
            // Frames are handled in order: its answer says that the signal was sent.
            await AskAsync(channel, FrameType.Stats, ReadOnlyMemory<byte>.Empty, ChannelLimits.Answer, cancellationToken);
        }
        catch (DriverException) when (channel.IsLost)
        {
            // The guest has ended of it before it could answer.
        }
    }

    /// <summary>SIGTERM to the main process, SIGKILL after the grace period, and the guest powers off; answers at once.</summary>
    /// <param name="grace">Zero: no SIGKILL.</param>
    public async Task ShutdownAsync(InstanceId id, string channelSocket, TimeSpan grace, CancellationToken cancellationToken) => await AskAsync(
        await OpenAsync(id, channelSocket, cancellationToken), FrameType.Shutdown, Number(grace), ChannelLimits.Answer, cancellationToken);

    /// <summary>Lets a guest that holds go on as somebody: clock and randomness first, then its name, address and entry point.</summary>
    public async Task BeginAsync(InstanceId id, string channelSocket, GuestConfig config, CancellationToken cancellationToken)
    {
        // What is there is of the guest that the snapshot was taken of.
        Forget(id);
        var channel = await OpenAsync(id, channelSocket, cancellationToken);

        // A guest that has just gone on takes its time over a request: it knows itself how long ago it was greeted, and nobody knows when it will look.
        var records = WithRandom(Records.Of(config)).AddGreeted(channel.GreetedAt);
        await channel.AskAsync(
            number => channel.SendAsync(FrameType.Begin, number, records, cancellationToken), ChannelLimits.Start, cancellationToken);
        channel.NoteBegun(config.Run);
    }

    /// <summary>After a resume or restore: the clock is set, and randomness differs from that of others that go on from the same.</summary>
    public async Task RefreshAsync(InstanceId id, string channelSocket, CancellationToken cancellationToken)
    {
        var channel = await OpenAsync(id, channelSocket, cancellationToken);
        var records = WithRandom(new Records()).AddTime(time.GetUtcNow());
        await channel.AskAsync(
            number => channel.SendAsync(FrameType.Refresh, number, records, cancellationToken), ChannelLimits.Answer, cancellationToken);
    }

    /// <summary>Writes everything to the root disk and holds all writing, until <see cref="ThawAsync"/> or for so long.</summary>
    public async Task FreezeAsync(InstanceId id, string channelSocket, TimeSpan atMost, CancellationToken cancellationToken) => await AskAsync(
        await OpenAsync(id, channelSocket, cancellationToken), FrameType.Freeze, Number(atMost), ChannelLimits.Freeze, cancellationToken);

    /// <exception cref="DriverException">GuestRefused: it was not frozen any more.</exception>
    public async Task ThawAsync(InstanceId id, string channelSocket, CancellationToken cancellationToken) => await AskAsync(
        await OpenAsync(id, channelSocket, cancellationToken), FrameType.Thaw, ReadOnlyMemory<byte>.Empty, ChannelLimits.Freeze, cancellationToken);

    /// <summary>One sample, without a share of CPU time.</summary>
    public async Task<InstanceStats> MeasureAsync(InstanceId id, string channelSocket, CancellationToken cancellationToken)
    {
        var channel = await OpenAsync(id, channelSocket, cancellationToken);
        var answer = await AskAsync(channel, FrameType.Stats, ReadOnlyMemory<byte>.Empty, ChannelLimits.Answer, cancellationToken);
        if (answer.Length != 8 * Statistics)
        {
            throw GuestChannel.NotReachable("its statistics make no sense");
        }

        long At(int index) => Math.Max(0, BinaryPrimitives.ReadInt64LittleEndian(answer.AsSpan(8 * index)));
        return new InstanceStats
        {
            SampledAt = Timestamp.FromDateTimeOffset(time.GetUtcNow()),
            // A duration of protobuf ends at 10,000 years; a guest may say anything.
            CpuTime = Duration.FromTimeSpan(TimeSpan.FromTicks(Math.Min(At(0) / 100, TimeSpan.FromDays(100_000).Ticks))),
            MemoryBytes = At(1),
            MemoryLimitBytes = At(2),
            Pids = At(3),
            PidsLimit = At(4),
            Network = new NetworkStats { ReceivedBytes = At(5), SentBytes = At(6), ReceivedPackets = At(7), SentPackets = At(8) },
            Block = new BlockStats { ReadBytes = At(9), WrittenBytes = At(10) },
        };
    }

    public async Task<GuestExec> ExecAsync(InstanceId id, string channelSocket, ExecInput request, CancellationToken cancellationToken) => await GuestExec.StartAsync(
        await OpenAsync(id, channelSocket, cancellationToken), Records.Of(request), request.Terminal, request.AttachStdin, time, cancellationToken);

    /// <summary>One of the init's own programs, without a terminal.</summary>
    public async Task<GuestExec> ExecAsync(InstanceId id, string channelSocket, Records builtIn, CancellationToken cancellationToken) => await GuestExec.StartAsync(
        await OpenAsync(id, channelSocket, cancellationToken), builtIn, terminal: false, stdin: true, time, cancellationToken);

    /// <summary>The connection, for what is written to the main process. The caller does not dispose of it.</summary>
    public async Task<GuestChannel> OpenAsync(InstanceId id, string channelSocket, CancellationToken cancellationToken)
    {
        var slot = _slots.GetOrAdd(id, _ => new Slot());
        await slot.Gate.WaitAsync(cancellationToken);
        try
        {
            if (slot.Channel is { IsLost: false } open && slot.Socket == channelSocket)
            {
                return open;
            }

            await slot.CloseAsync();
            slot.Channel = await GuestChannel.ConnectAsync(channelSocket, ChannelLimits.Hello, random, time, cancellationToken);
            slot.Socket = channelSocket;
            return slot.Channel;
        }
        finally
        {
            slot.Gate.Release();
        }
    }

    /// <summary>The guest has ended, or another one is about to take its place.</summary>
    public void Forget(InstanceId id)
    {
        if (_slots.TryRemove(id, out var slot))
        {
            _ = slot.CloseAsync();
        }
    }

    public async ValueTask DisposeAsync()
    {
        foreach (var id in _slots.Keys)
        {
            if (_slots.TryRemove(id, out var slot))
            {
                await slot.CloseAsync();
            }
        }
    }

    private static Task<byte[]> AskAsync(
        GuestChannel channel, FrameType type, ReadOnlyMemory<byte> payload, TimeSpan patience, CancellationToken cancellationToken) =>
        channel.AskAsync(number => channel.SendAsync(type, number, payload, cancellationToken), patience, cancellationToken);

    private static byte[] Number(TimeSpan duration)
    {
        var value = new byte[4];
        BinaryPrimitives.WriteUInt32LittleEndian(value, (uint)Math.Clamp(duration.TotalMilliseconds, 0, int.MaxValue));
        return value;
    }

    private Records WithRandom(Records records)
    {
        Span<byte> entropy = stackalloc byte[EntropyBytes];
        random.Fill(entropy);
        return records.AddRandom(entropy);
    }

    private sealed class Slot
    {
        public SemaphoreSlim Gate { get; } = new(1, 1);

        public GuestChannel? Channel { get; set; }

        public string Socket { get; set; } = "";

        public async Task CloseAsync()
        {
            if (Channel is { } channel)
            {
                Channel = null;
                await channel.DisposeAsync();
            }
        }
    }
}
