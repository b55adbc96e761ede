using System.Net;
using System.Net.Sockets;
using Hypervisor.Agent.Instances.Health;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Xunit;

namespace Hypervisor.Tests.Agent.Instances.Health;

/// <summary>Protects: a TCP check passes where somebody listens, fails where nobody does, and never says yes for want of an answer.</summary>
public sealed class NetworkHealthProbeTests : IDisposable
{
    private readonly NetworkHealthProbe _probe = new();
    private readonly TcpListener _listener = new(IPAddress.Loopback, 0);

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    private int Port => ((IPEndPoint)_listener.LocalEndpoint).Port;

    public void Dispose()
    {
        _probe.Dispose();
        _listener.Dispose();
    }

    [Fact]
    public async Task Where_somebody_listens_a_connection_is_enough()
    {
        _listener.Start();
        Assert.Equal(new HealthResult(true, ""), await _probe.CheckAsync(Target(), Cancel));

        // Nothing is sent, and the connection is closed at once: services that log each client see one.
        using var client = await _listener.AcceptSocketAsync(Cancel);
        Assert.Equal(0, await client.ReceiveAsync(new byte[1], Cancel));
    }

    [Fact]
    public async Task Where_nobody_listens_the_port_is_named()
    {
        // The kernel refuses what it bound and nobody listens on.
        using var bound = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        bound.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        var port = ((IPEndPoint)bound.LocalEndPoint!).Port;

        var result = await _probe.CheckAsync(Target(port), Cancel);

        Assert.False(result!.Value.Succeeded);
        Assert.StartsWith($"connecting to port {port}: ", result.Value.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_check_that_is_given_up_is_no_answer()
    {
        _listener.Start();
        using var given = new CancellationTokenSource();
        await given.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => _probe.CheckAsync(Target(), given.Token));
    }

    private HealthTarget Target(int? port = null) =>
        new(new HealthCheck { Tcp = new TcpCheck { Port = port ?? Port } }, new InstanceId("a"), new Epoch(1), null, "127.0.0.1", null);
}
