using System.Net.Sockets;
using System.Text;
using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Drivers.Firecracker;
using Hypervisor.Agent.Guests;
using Hypervisor.TestCluster;
using Xunit;

namespace Hypervisor.ClusterTests.Firecracker;

/// <summary>
/// The driver's calls end in a running guest: through the stand-in everywhere, and through Firecracker itself where there is one and KVM
/// runs guests. Protects the whole way from a machine's description to what the guest sees, and that nothing is left of it.
/// </summary>
public sealed class FirecrackerTests(FirecrackerHost host) : IClassFixture<FirecrackerHost>
{
    private static CancellationToken Cancelled => TestContext.Current.CancellationToken;

    [Theory]
    [MemberData(nameof(FirecrackerHost.Programs), MemberType = typeof(FirecrackerHost))]
    public async Task Boots_is_adopted_saved_restored_and_removed_without_a_trace(string program)
    {
        await using var guest = new FirecrackerGuest(host, program);
        await guest.MakeTapAsync();
        var probe = await guest.Vmm.ProbeAsync(Cancelled);
        Assert.True(probe.Available, probe.Message);

        await guest.Vmm.StartAsync(guest.Machine, Cancelled);
        await guest.WritesAsync("tick 3");
        Assert.Contains("READY disk=disk-of-root mac=02:00:0a:80:00:fc", guest.Console, StringComparison.Ordinal);
        if (program == FirecrackerHost.StandIn)
        {
            // Under Firecracker it is a vsock, which needs an init of ours in the guest.
            Assert.Equal("echo hello", await AskAsync(guest, "hello"));
            Assert.Equal("echo again", await AskAsync(guest, "again"));
        }

        await File.AppendAllTextAsync(guest.Machine.ConsoleInput, "words\n", Cancelled);
        await guest.WritesAsync("typed words");

        // Again is nothing, and another agent finds what runs.
        await guest.Vmm.StartAsync(guest.Machine, Cancelled);
        var vmm = guest.NewAgent();
        var seen = Assert.Single(await vmm.ListAsync(Cancelled));
        Assert.Equal((FirecrackerGuest.Id, VmmState.Running), (seen.Id, seen.State));
        Assert.InRange(RealTime.Clock.GetUtcNow() - seen.StartedAt!.Value, TimeSpan.Zero, TimeSpan.FromMinutes(1));
        var stats = await vmm.MeasureAsync(FirecrackerGuest.Id, Cancelled);
        Assert.True(stats.MemoryBytes > 0 && stats.MemoryLimitBytes == 128L << 20 && stats.Network is not null);

        await vmm.PauseAsync(FirecrackerGuest.Id, Cancelled);
        Assert.Equal(VmmState.Paused, (await vmm.GetAsync(FirecrackerGuest.Id, Cancelled))!.State);
        await vmm.SaveAsync(FirecrackerGuest.Id, $"{guest.Folder}/full", Cancelled);
        await vmm.ResumeAsync(FirecrackerGuest.Id, Cancelled);
        await guest.TicksPastAsync(guest.LastTick() + 2);
        await vmm.PauseAsync(FirecrackerGuest.Id, Cancelled);
        await vmm.SaveChangesAsync(FirecrackerGuest.Id, $"{guest.Folder}/full", $"{guest.Folder}/changed", Cancelled);
        var before = guest.LastTick();

        var ended = FirstAsync(vmm);
        await vmm.KillAsync(FirecrackerGuest.Id, Cancelled);
        Assert.Equal(FirecrackerGuest.Id, await ended);
        Assert.Equal(VmmState.Stopped, (await vmm.GetAsync(FirecrackerGuest.Id, Cancelled))!.State);

        // Goes on where it was: it ticks on, and does not boot. The files are moved, as a clone's are.
        File.Move($"{guest.Folder}/changed", $"{guest.Folder}/moved");
        await File.WriteAllTextAsync($"{guest.Folder}/console.log", "", Cancelled);
        await vmm.StartAsync(guest.Machine with { RestoreFrom = $"{guest.Folder}/moved", StayPaused = true }, Cancelled);
        Assert.Equal(VmmState.Paused, (await vmm.GetAsync(FirecrackerGuest.Id, Cancelled))!.State);
        await vmm.ResumeAsync(FirecrackerGuest.Id, Cancelled);
        await guest.TicksPastAsync(before);
        Assert.InRange(guest.LastTick(), before, before + 1000);
        Assert.DoesNotContain("READY", guest.Console, StringComparison.Ordinal);

        ended = FirstAsync(vmm);
        await vmm.AskToPowerOffAsync(FirecrackerGuest.Id, Cancelled);
        Assert.Equal(FirecrackerGuest.Id, await ended);
        await vmm.RemoveAsync(FirecrackerGuest.Id, Cancelled);
        await vmm.RemoveAsync(FirecrackerGuest.Id, Cancelled);
        await vmm.KillAsync(FirecrackerGuest.Id, Cancelled);
        Assert.Empty(guest.Traces());
        Assert.Empty(await vmm.ListAsync(Cancelled));
        Assert.Null(await vmm.GetAsync(FirecrackerGuest.Id, Cancelled));
    }

    [Theory]
    [MemberData(nameof(FirecrackerHost.Programs), MemberType = typeof(FirecrackerHost))]
    public async Task Runs_in_a_jail_and_leaves_none(string program)
    {
        await using var guest = new FirecrackerGuest(host, program, jailed: true);
        await guest.Vmm.StartAsync(guest.Machine, Cancelled);
        await guest.WritesAsync("READY disk=disk-of-root");
        Assert.True(File.Exists($"{guest.Folder}/jails/{Path.GetFileName(program)}/{FirecrackerGuest.Id}/root/kernel"));
        await guest.Vmm.PauseAsync(FirecrackerGuest.Id, Cancelled);
        await guest.Vmm.SaveAsync(FirecrackerGuest.Id, $"{guest.Folder}/full", Cancelled);
        await guest.Vmm.KillAsync(FirecrackerGuest.Id, Cancelled);
        var before = guest.LastTick();

        await guest.Vmm.StartAsync(guest.Machine with { RestoreFrom = $"{guest.Folder}/full" }, Cancelled);
        await guest.TicksPastAsync(before);
        await guest.Vmm.KillAsync(FirecrackerGuest.Id, Cancelled);
        await guest.Vmm.RemoveAsync(FirecrackerGuest.Id, Cancelled);
        Assert.Empty(guest.Traces());
        Assert.True(File.Exists($"{guest.Folder}/root.raw") && File.Exists(host.Kernel));
    }

    [Theory]
    [MemberData(nameof(FirecrackerHost.Programs), MemberType = typeof(FirecrackerHost))]
    public async Task Leaves_nothing_of_a_start_that_failed_and_tells_why(string program)
    {
        await using var guest = new FirecrackerGuest(host, program);
        var error = await Assert.ThrowsAsync<DriverException>(
            () => guest.Vmm.StartAsync(guest.Machine with { Boot = guest.Machine.Boot! with { Kernel = host.Initramfs } }, Cancelled));
        Assert.Contains("Invalid Elf magic", error.Message, StringComparison.OrdinalIgnoreCase);
        Assert.Empty(guest.Traces());

        // The VMM dies: what it ran goes with it, and it is seen as stopped, not as gone.
        await guest.Vmm.StartAsync(guest.Machine, Cancelled);
        var process = (await guest.Vmm.GetAsync(FirecrackerGuest.Id, Cancelled))!.ProcessId!.Value;
        var ended = FirstAsync(guest.Vmm);
        Linux.Signal(process, Linux.SignalKill);
        Assert.Equal(FirecrackerGuest.Id, await ended);
        Assert.Equal(VmmState.Stopped, Assert.Single(await guest.Vmm.ListAsync(Cancelled)).State);
        await guest.Vmm.RemoveAsync(FirecrackerGuest.Id, Cancelled);
        await RealTime.UntilAsync("all of it is gone", TimeSpan.FromSeconds(10), () => guest.Traces().Count == 0);
    }

    [Fact]
    public async Task Starts_no_process_that_nobody_has_recorded()
    {
        await using var guest = new FirecrackerGuest(host, FirecrackerHost.StandIn);
        await File.WriteAllTextAsync($"{guest.Folder}/in", "", Cancelled);
        ProcessMark? mark = null;
        var command = new GuestCommand("/bin/touch", ["started"], guest.Folder, $"{guest.Folder}/in", $"{guest.Folder}/out", $"{guest.Folder}/out");
        await Assert.ThrowsAsync<DriverException>(() => GuestProcess.StartAsync(command, made =>
        {
            mark = made;
            throw new IOException("the disk is full, or the agent was killed");
        }));
        await RealTime.UntilAsync("the process ends by itself", TimeSpan.FromSeconds(10), () => GuestProcess.Mark(mark!.Value.Id) != mark);
        Assert.False(File.Exists($"{guest.Folder}/started"));
    }

    private static async Task<Hypervisor.Protocol.InstanceId> FirstAsync(FirecrackerVmm vmm)
    {
        using var deadline = new CancellationTokenSource(TimeSpan.FromSeconds(30), RealTime.Clock);
        await foreach (var id in vmm.WatchAsync(deadline.Token))
        {
            return id;
        }

        throw new InvalidOperationException("the watch ended");
    }

    /// <summary>As the agent's end of the channel does it: the socket, the handshake, then the stream.</summary>
    private static async Task<string> AskAsync(FirecrackerGuest guest, string line)
    {
        var answer = "";
        await RealTime.UntilAsync("the guest answers on its channel", TimeSpan.FromSeconds(10), async () =>
        {
            using var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
            await socket.ConnectAsync(new UnixDomainSocketEndPoint(guest.Machine.ChannelSocket), Cancelled);
            await using var stream = new NetworkStream(socket);
            try
            {
                await VsockHandshake.PerformAsync(stream, guest.Vmm.ChannelPort!.Value, Cancelled);
            }
            catch (DriverException error) when (error.Reason == "ChannelRefused")
            {
                return false;
            }

            await stream.WriteAsync(Encoding.ASCII.GetBytes(line + "\n"), Cancelled);
            using var reader = new StreamReader(stream);
            answer = await reader.ReadLineAsync(Cancelled) ?? "";
            return true;
        });
        return answer;
    }
}
