using System.Net.Sockets;
using System.Text;
using Hypervisor.ClusterTests.Faults;
using Hypervisor.Protocol.V1;
using Hypervisor.TestCluster;
using Xunit;

namespace Hypervisor.ClusterTests.Software;

/// <summary>
/// Protects, with Debian's nginx: what the page of examples says, and what people do with a web server: use it over its published
/// port, follow its log, look into it, stop it without cutting a request off, and have it started again.
/// </summary>
[Collection(SoftwareCluster.Name)]
[Trait(StoreTrait.Name, StoreTrait.Either)]
public sealed class NginxTests(SoftwareCluster software)
{
    private const int Port = 8090;
    private const int SlowBytes = 80_000;

    private LocalCluster Cluster => software.Cluster;

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_web_server_is_used_followed_looked_into_stopped_and_started_again()
    {
        await software.BeginAsync();
        await software.Examples.TypeAsync("nginx", before: "bin/hypervisor-ctl instance stop");
        await LogIsFollowedAsync();
        await SlowRequestEndsAsync();
        await software.Examples.TypeRestAsync("nginx", from: "bin/hypervisor-ctl instance start");
        Assert.Empty(await new Leftovers(Cluster).ListAsync());

        await software.Ctl.RunAsync(
            "instance", "create", "--name", "short", "--type", "container", "--image", "nginx", "--cpus", "0.5", "--memory", "64", "--publish", $"{Port}:80",
            "--restart", "always", "--stop-timeout", "1s");
        await IsKilledAndComesBackAsync();
        await GracePeriodEndsAsync();
        await Cluster.DeleteAsync("short");
        Assert.Empty(await new Leftovers(Cluster).ListAsync());
    }

    private async Task LogIsFollowedAsync()
    {
        await using var follower = software.Ctl.Start("instance", "logs", "web", "--follow", "--stdout", "--tail", "0");
        // A follower that has not begun yet would not see it.
        var asked = 0;
        await RealTime.UntilAsync("the follower has begun", TimeSpan.FromSeconds(30), async () =>
        {
            await software.GetAsync(Port, $"/begin-{asked++}");
            return follower.Output.Length > 0;
        });
        foreach (var path in new[] { "/one", "/two", "/three" })
        {
            Assert.Contains("404", await software.GetAsync(Port, path), StringComparison.Ordinal);
            await follower.UntilAsync($"\"GET {path} HTTP/1.0\" 404", 10);
            Assert.Equal(2, follower.Output.Split($"GET {path} ").Length);
        }
    }

    /// <summary>The image's SIGQUIT lets what is under way end, while nothing new is taken.</summary>
    private async Task SlowRequestEndsAsync()
    {
        await using var slow = await BeginSlowRequestAsync("web");
        await Cluster.Compute.StopInstanceAsync(new StopInstanceRequest { Instance = "web" }, deadline: LocalCluster.Deadline(10));
        await RealTime.UntilAsync("nothing new is taken", TimeSpan.FromSeconds(10), async () => await software.GetAsync(Port, "/") is null);
        Assert.Equal(SlowBytes, await BytesOfBodyAsync(slow));
        var stopped = await Cluster.InstanceAsync("web", "stops", instance => Instances.Settled(instance, InstanceState.Stopped));
        Assert.Equal((0, 0), (stopped.Status.Exit.Code, stopped.Status.Restarts));
    }

    private async Task IsKilledAndComesBackAsync()
    {
        await software.AnswersAsync(Port);
        var started = RealTime.Clock.GetTimestamp();
        Assert.Equal(1, (await software.KillMainProcessAsync("short")).Status.Restarts);
        await software.AnswersAsync(Port);
        Assert.Equal(2, (await software.KillMainProcessAsync("short")).Status.Restarts);

        // One second before the first start, two before the second.
        Assert.True(RealTime.Clock.GetElapsedTime(started) > TimeSpan.FromSeconds(3));
        await software.AnswersAsync(Port);
    }

    /// <summary>A request that takes longer than the grace period is cut off at its end, and not before.</summary>
    private async Task GracePeriodEndsAsync()
    {
        await software.Ctl.RunAsync("instance", "cp", $"{Cluster.Folder}/tree/slow.conf", "short:/etc/nginx/conf.d/slow.conf");
        await software.Ctl.RunAsync("instance", "exec", "short", "--", "nginx", "-s", "reload");
        await using var slow = await BeginSlowRequestAsync("short");
        var started = RealTime.Clock.GetTimestamp();
        await Cluster.Compute.StopInstanceAsync(new StopInstanceRequest { Instance = "short" }, deadline: LocalCluster.Deadline(10));
        var stopped = await Cluster.InstanceAsync("short", "is killed", instance => Instances.Settled(instance, InstanceState.Stopped) || Instances.Settled(instance, InstanceState.Failed));
        Assert.InRange(RealTime.Clock.GetElapsedTime(started), TimeSpan.FromSeconds(0.9), TimeSpan.FromSeconds(10));
        Assert.Equal(Linux.SignalKill, stopped.Status.Exit.Signal);
        Assert.InRange(await BytesOfBodyAsync(slow), 0, SlowBytes - 1);
    }

    /// <summary>Under "/slow/" 20 KB come per second: this takes about three seconds, of which the first part is here already.</summary>
    private async Task<NetworkStream> BeginSlowRequestAsync(string name)
    {
        await software.Ctl.RunAsync(
            "instance", "exec", name, "--", "sh", "-c", $"mkdir -p /var/www/html/slow && head -c {SlowBytes} /dev/zero > /var/www/html/slow/file");
        NetworkStream connection = null!;

        // Workers with the old configuration may still take requests for a moment after a reload.
        await RealTime.UntilAsync("a request is slow", TimeSpan.FromSeconds(20), async () =>
        {
            connection = await software.ConnectAsync(Port);
            await connection.WriteAsync(Encoding.ASCII.GetBytes("GET /slow/file HTTP/1.0\r\n\r\n"), Cancel);
            var status = new byte[12];
            await connection.ReadExactlyAsync(status, Cancel);
            await Task.Delay(TimeSpan.FromMilliseconds(100), RealTime.Clock, Cancel);
            if (Encoding.ASCII.GetString(status) == "HTTP/1.1 200" && connection.Socket.Available < SlowBytes)
            {
                return true;
            }

            await connection.DisposeAsync();
            return false;
        });
        return connection;
    }

    private static async Task<int> BytesOfBodyAsync(NetworkStream connection)
    {
        using var rest = new MemoryStream();
        try
        {
            await connection.CopyToAsync(rest, Cancel).WaitAsync(TimeSpan.FromSeconds(30), Cancel);
        }
        catch (IOException)
        {
            // Reset: what came until then counts.
        }

        var bytes = rest.ToArray();
        return bytes.Length - (bytes.AsSpan().IndexOf("\r\n\r\n"u8) + 4);
    }
}
