using System.Net.Sockets;
using System.Text;
using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Drivers.Qemu;
using Xunit;

namespace Hypervisor.Tests.Agent.Drivers.Qemu;

/// <summary>Protects: whatever QEMU's monitor says, or does not say, a call ends in its time with an answer that is its own.</summary>
public sealed class QmpClientTests : IDisposable
{
    private const string Greeting = """{"QMP": {"version": {"qemu": {"micro": 0, "minor": 2, "major": 7}}, "capabilities": []}}""";

    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("qmp-");
    private readonly Socket _listener = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
    private readonly Microsoft.Extensions.Time.Testing.FakeTimeProvider _time = new();

    private string SocketPath => Path.Combine(_folder.FullName, "qmp");

    public void Dispose()
    {
        _listener.Dispose();
        _folder.Delete(recursive: true);
    }

    [Fact]
    public async Task Events_before_an_answer_are_passed_over()
    {
        var told = Serve(Greeting, """{"return": {}}""", """{"event": "STOP", "data": {}}""" + "\r\n" + """{"event": "RESUME"}""" + "\r\n" + """{"return": {"status": "running"}}""");
        using var client = await ConnectAsync();
        using var answer = await client.CallAsync("query-status", null, default);

        Assert.Equal("running", answer.RootElement.GetProperty("return").GetProperty("status").GetString());
        Assert.Equal(["""{"execute":"qmp_capabilities"}""", """{"execute":"query-status"}"""], await told);
    }

    [Fact]
    public async Task A_refusal_says_what_was_refused_and_why()
    {
        _ = Serve(Greeting, """{"return": {}}""", """{"error": {"class": "GenericError", "desc": "no such thing"}}""");
        using var client = await ConnectAsync();
        var refused = await Assert.ThrowsAsync<DriverException>(() => client.CallAsync("do-it", json => json.WriteString("name", "x\",\"y\":1"), default));

        Assert.Equal("VmmFailed", refused.Reason);
        Assert.Contains("do-it: no such thing", refused.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("SSH-2.0-OpenSSH_9.2")]
    [InlineData("{}")]
    [InlineData("")]
    public async Task Something_else_that_listens_is_no_qemu(string greeting)
    {
        _ = Serve(greeting);
        var failure = await Assert.ThrowsAsync<DriverException>(ConnectAsync);
        Assert.Equal("RuntimeUnavailable", failure.Reason);
    }

    [Fact]
    public async Task A_monitor_that_is_mute_is_given_up_and_not_asked_again()
    {
        _ = Serve(Greeting, """{"return": {}}""", null);
        using var client = await ConnectAsync();
        var call = client.CallAsync("query-status", null, default);
        while (!call.IsCompleted)
        {
            _time.Advance(QemuLimits.Command);
            await Task.Yield();
        }

        Assert.Equal("RuntimeUnavailable", (await Assert.ThrowsAsync<DriverException>(() => call)).Reason);
        Assert.Equal("RuntimeUnavailable", (await Assert.ThrowsAsync<DriverException>(() => client.CallAsync("quit", null, default))).Reason);
    }

    [Fact]
    public async Task A_message_without_end_is_bounded()
    {
        _ = Serve(Greeting, """{"return": {}}""", "{\"event\": \"" + new string('x', QemuLimits.MessageBytes + 1));
        using var client = await ConnectAsync();
        var failure = await Assert.ThrowsAsync<DriverException>(() => client.CallAsync("query-status", null, default));

        Assert.Equal("RuntimeUnavailable", failure.Reason);
    }

    [Fact]
    public async Task Nobody_there_is_told_as_it_is() => await Assert.ThrowsAsync<SocketException>(ConnectAsync);

    private Task<QmpClient> ConnectAsync() => QmpClient.ConnectAsync(SocketPath, _time, default);

    /// <summary>Greets, then has one answer per command; null is none.</summary>
    private async Task<List<string>> Serve(string greeting, params string?[] answers)
    {
        _listener.Bind(new UnixDomainSocketEndPoint(SocketPath));
        _listener.Listen();
        using var connection = await _listener.AcceptAsync();
        await using var stream = new NetworkStream(connection);
        using var reader = new StreamReader(stream);
        await stream.WriteAsync(Encoding.UTF8.GetBytes(greeting + "\r\n"));
        var told = new List<string>();
        foreach (var answer in answers)
        {
            if (await reader.ReadLineAsync() is not { } command)
            {
                break;
            }

            told.Add(command);
            if (answer is not null)
            {
                await stream.WriteAsync(Encoding.UTF8.GetBytes(answer + "\r\n"));
            }
            else
            {
                await reader.ReadLineAsync();
            }
        }

        return told;
    }
}
