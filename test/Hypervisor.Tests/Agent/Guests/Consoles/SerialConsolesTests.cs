using System.Text;
using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Guests.Consoles;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Xunit;

namespace Hypervisor.Tests.Agent.Guests.Consoles;

/// <summary>
/// Protects: a serial console, which its monitor shows to one client only, is seen by many, each with the last 64 KiB of before, and let go of when
/// nobody looks.
/// </summary>
public sealed class SerialConsolesTests : IDisposable
{
    private static readonly InstanceId Id = new("11111111-2222-4333-8444-555555555555");

    private readonly FakeMonitor _monitor = new();

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    public void Dispose() => _monitor.Dispose();

    [Fact(Timeout = 60_000)]
    public async Task Many_read_what_one_connection_brings_and_any_of_them_can_write()
    {
        await File.WriteAllTextAsync(_monitor.Log, "before ", Cancel);
        await using var consoles = new SerialConsoles(RealClock.Instance);
        var first = await AttachAsync(consoles);
        await _monitor.AcceptAsync(Cancel);
        await _monitor.WriteAsync("boot ", Cancel);
        Assert.Equal("before boot ", await ReadAsync(first, 12));
        await using var second = await AttachAsync(consoles);
        await _monitor.WriteAsync("login: ", Cancel);

        Assert.Equal(("login: ", "before boot login: "), (await ReadAsync(first, 7), await ReadAsync(second, 19)));
        await second.WriteAsync("root"u8.ToArray(), Cancel);
        Assert.Equal("root", await _monitor.ReadAsync(Cancel));
        Assert.True(first is { TakesInput: true, IsTerminal: true });
        await first.DisposeAsync();
        await _monitor.WriteAsync("#", Cancel);
        Assert.Equal("#", await ReadAsync(second, 1));
    }

    [Fact(Timeout = 60_000)]
    public async Task Of_a_long_log_the_last_64_KiB_are_shown()
    {
        await File.WriteAllTextAsync(_monitor.Log, new string('a', 1000) + new string('b', 64 * 1024), Cancel);
        await using var consoles = new SerialConsoles(RealClock.Instance);
        await using var reader = await AttachAsync(consoles);

        Assert.Equal(new string('b', 64 * 1024), await ReadAsync(reader, 64 * 1024));
    }

    [Fact(Timeout = 60_000)]
    public async Task When_nobody_looks_the_monitor_is_let_go_of_and_the_next_one_connects_anew()
    {
        await using var consoles = new SerialConsoles(RealClock.Instance);
        var first = await AttachAsync(consoles);
        await _monitor.AcceptAsync(Cancel);
        await first.DisposeAsync();
        Assert.Equal("", await _monitor.ReadAsync(Cancel));

        await using var second = await AttachAsync(consoles);
        await _monitor.AcceptAsync(Cancel);
        await _monitor.WriteAsync("again", Cancel);
        Assert.Equal("again", await ReadAsync(second, 5));
    }

    [Fact(Timeout = 60_000)]
    public async Task With_the_guest_it_ends_for_all_and_one_that_is_not_there_is_said()
    {
        await using var consoles = new SerialConsoles(RealClock.Instance);
        await using var reader = await AttachAsync(consoles);
        await _monitor.AcceptAsync(Cancel);
        _monitor.End();

        Assert.Equal(0, await reader.ReadAsync(LogStream.Stdout, new byte[10], Cancel));
        await reader.ExitAsync(Cancel);
        var refusal = await Assert.ThrowsAsync<DriverException>(() => consoles.AttachAsync(new InstanceId("x"), _monitor.SocketPath + "x", _monitor.Log, Cancel));
        Assert.Equal("ConsoleUnavailable", refusal.Reason);
    }

    [Fact(Timeout = 60_000)]
    public async Task A_display_is_a_stream_of_bytes_that_ends_with_the_guest()
    {
        await using var display = await VncConnection.OpenAsync(_monitor.SocketPath, RealClock.Instance, Cancel);
        await _monitor.AcceptAsync(Cancel);
        await _monitor.WriteAsync("RFB 003.008\n", Cancel);
        Assert.Equal("RFB 003.008\n", await ReadAsync(display, 12));
        await display.WriteAsync("RFB"u8.ToArray(), Cancel);
        Assert.Equal("RFB", await _monitor.ReadAsync(Cancel));
        _monitor.End();

        Assert.Equal(0, await display.ReadAsync(LogStream.Stdout, new byte[10], Cancel));
        await display.ExitAsync(Cancel);
        var refusal = await Assert.ThrowsAsync<DriverException>(() => VncConnection.OpenAsync(_monitor.SocketPath + "x", RealClock.Instance, Cancel));
        Assert.Equal("DisplayUnavailable", refusal.Reason);
    }

    private Task<IInstanceProcess> AttachAsync(SerialConsoles consoles) => consoles.AttachAsync(Id, _monitor.SocketPath, _monitor.Log, Cancel);

    private static async Task<string> ReadAsync(IInstanceProcess process, int count)
    {
        var bytes = new byte[count];
        for (var read = 0; read < count;)
        {
            read += await process.ReadAsync(LogStream.Stdout, bytes.AsMemory(read), Cancel);
        }

        return Encoding.UTF8.GetString(bytes);
    }
}
