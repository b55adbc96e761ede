using Hypervisor.Agent.Instances.Health;
using Hypervisor.Protocol.V1;
using Hypervisor.TestCluster;
using Xunit;
using static Hypervisor.ClusterTests.Containerd.Containers;
using Duration = Google.Protobuf.WellKnownTypes.Duration;

namespace Hypervisor.ClusterTests.Containerd;

/// <summary>Protects: a health check's command says what its exit says, and none of it stays behind.</summary>
public sealed class ExecCheckTests(ContainerdHost host) : IClassFixture<ContainerdHost>
{
    [Fact]
    public async Task A_command_speaks_by_its_exit_and_its_last_words()
    {
        var definition = host.Define();
        await host.StartAsync(definition);
        Assert.Equal(new HealthResult(true, ""), await CheckAsync(definition.Id.Value, "echo fine"));
        Assert.Equal(
            new HealthResult(false, "/bin/sh ended with 3: not yet: disk"),
            await CheckAsync(definition.Id.Value, "echo not yet:; printf '\\033disk\\n' >&2; exit 3"));
        var flood = await CheckAsync(definition.Id.Value, "dd if=/dev/zero bs=65536 count=64 2>/dev/null | tr '\\0' x; exit 1");
        Assert.Equal($"/bin/sh ended with 1: …{new string('x', 256)}", flood!.Value.Message);
        Assert.False((await CheckAsync(definition.Id.Value, "kill -9 $$"))!.Value.Succeeded);
    }

    [Fact]
    public async Task One_that_takes_too_long_is_killed_with_its_children()
    {
        var definition = host.Define();
        await host.StartAsync(definition);
        var main = Assert.Single(host.Cgroups.Processes(definition.Id.Value));
        HealthResult? late = null;
        for (var seconds = 2; late is null; seconds *= 2)
        {
            // A machine that cannot even start it by then learns nothing of the instance.
            Assert.True(seconds < 100, "the command was not started");
            using var timeout = new CancellationTokenSource(TimeSpan.FromSeconds(seconds), RealTime.Clock);
            late = await CheckAsync(definition.Id.Value, "sleep 4246 & echo waiting; sleep 4247", timeout.Token);
        }

        Assert.False(late.Value.Succeeded);
        Assert.StartsWith("/bin/sh did not end within 2 s", late.Value.Message, StringComparison.Ordinal);
        await ContainerdHost.UntilAsync(
            () => Task.FromResult(host.Cgroups.Processes(definition.Id.Value).SequenceEqual([main])), "only the main process is left");
    }

    [Fact]
    public async Task An_instance_that_does_not_run_or_lacks_the_command_is_told_apart()
    {
        var definition = host.Define();
        await host.Driver.CreateAsync(definition, Cancel);
        Assert.Null(await CheckAsync(definition.Id.Value, "true"));
        await host.Driver.StartAsync(definition.Id, First, Cancel);
        var missing = await AskAsync(definition.Id.Value, Cancel, "/bin/nope");
        Assert.Equal(new HealthResult(false, "the command \"/bin/nope\" is not in the image"), missing);
    }

    private Task<HealthResult?> CheckAsync(string uid, string script, CancellationToken? cancellationToken = null) =>
        AskAsync(uid, cancellationToken ?? Cancel, "/bin/sh", "-c", script);

    private Task<HealthResult?> AskAsync(string uid, CancellationToken cancellationToken, params string[] command)
    {
        var check = new HealthCheck { Exec = new ExecCheck { Command = { command } }, Timeout = Duration.FromTimeSpan(TimeSpan.FromSeconds(2)) };
        return new ExecHealthProbe(RealTime.Clock).CheckAsync(new HealthTarget(check, new(uid), First, null, "", host.Access), cancellationToken);
    }
}
