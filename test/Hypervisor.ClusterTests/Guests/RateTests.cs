using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text;
using Hypervisor.ClusterTests.Faults;
using Hypervisor.Protocol.V1;
using Hypervisor.TestCluster;
using Xunit;

namespace Hypervisor.ClusterTests.Guests;

/// <summary>
/// Protects: an instance of any type reads, writes, receives and sends no faster than it may, from its start on; and rates of the network change while
/// it runs.
/// </summary>
[Collection(GuestCluster.Name)]
public sealed class RateTests(GuestCluster guests)
{
    private const int NetworkRate = 512 << 10;
    private const int NetworkBytes = 3 << 19;
    private const int DiskRate = 4 << 20;

    // Two servers: one says how much it was sent, the other sends.
    private static readonly string Script = string.Create(
        CultureInfo.InvariantCulture, $"nc -ll -p 9000 -e wc -c & nc -ll -p 9001 -e head -c {NetworkBytes} /dev/zero & sleep 3600");

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData(InstanceType.Container)]
    [InlineData(InstanceType.Microvm)]
    [InlineData(InstanceType.Vm)]
    public async Task No_rate_is_exceeded(InstanceType type)
    {
        var cluster = await guests.BeginAsync();
        var request = GuestCluster.Request(type, "slow", "sh", "-c", Script);
        request.Spec.DiskRates = new() { ReadBytesPerSecond = DiskRate, WriteBytesPerSecond = DiskRate };
        request.Spec.Network = new() { Rates = new() { ReceiveBytesPerSecond = NetworkRate, TransmitBytesPerSecond = NetworkRate } };
        await cluster.CreateAsync(request);
        var instance = await cluster.RunningAsync("slow", seconds: 90);
        var address = IPAddress.Parse(instance.Status.IpAddresses.Single());

        // Two seconds' worth, of which a tenth of a second's may pass at once.
        await TakesAsync(1.5, "write to its disk", () => SucceedsAsync("dd if=/dev/zero of=/data bs=256k count=32 oflag=direct"));
        await TakesAsync(1.5, "read from its disk", () => SucceedsAsync("dd if=/data of=/dev/null bs=256k iflag=direct"));

        // Three seconds' worth, of which 128 KiB and a second's worth may pass at once.
        await TakesAsync(1.5, "receive", async () => Assert.Equal($"{NetworkBytes}\n", await TalkAsync(cluster, new(address, 9000), NetworkBytes)));
        await TakesAsync(1.5, "send", async () => Assert.Equal(NetworkBytes, (await TalkAsync(cluster, new(address, 9001), 0)).Length));

        Assert.Contains("rate over", await RulesAsync(cluster), StringComparison.Ordinal);
        await cluster.Compute.UpdateInstanceAsync(
            new UpdateInstanceRequest
            {
                Instance = new() { Metadata = new() { Name = "slow" }, Spec = new() },
                UpdateMask = new() { Paths = { "spec.network.rates" } },
            },
            deadline: LocalCluster.Deadline(10));
        var free = await cluster.RunningAsync("slow");
        Assert.Equal(instance.Status.StartedAt, free.Status.StartedAt);
        await RealTime.UntilAsync("it may send as fast as it can", TimeSpan.FromSeconds(10), async () =>
            !(await RulesAsync(cluster)).Contains("rate over", StringComparison.Ordinal));
        await guests.DeleteLastAsync("slow");
    }

    private static async Task TakesAsync(double seconds, string what, Func<Task> work)
    {
        var begun = RealTime.Clock.GetTimestamp();
        await work();
        var took = RealTime.Clock.GetElapsedTime(begun);
        Assert.True(took > TimeSpan.FromSeconds(seconds), $"to {what} took {took}");
    }

    private async Task SucceedsAsync(string command) => Assert.Equal(0, (await guests.ExecAsync("slow", "sh", "-c", command))?.Code);

    /// <summary>What a server says until it closes, after so many bytes were sent to it.</summary>
    private static async Task<string> TalkAsync(LocalCluster cluster, IPEndPoint server, int bytes)
    {
        Socket? connected = null;
        await RealTime.UntilAsync($"{server} listens", TimeSpan.FromSeconds(30), async () =>
        {
            try
            {
                connected = await cluster.ConnectAsync(server);
                return true;
            }
            catch (SocketException)
            {
                return false;
            }
        });
        using var socket = connected!;
        using var stream = new NetworkStream(socket);
        using var reader = new StreamReader(stream, Encoding.Latin1);
        await stream.WriteAsync(new byte[bytes], Cancel);
        socket.Shutdown(SocketShutdown.Send);
        return await reader.ReadToEndAsync(Cancel);
    }

    private static Task<string> RulesAsync(LocalCluster cluster) => Shell.RunAsync("nsenter", $"--net={cluster.NetworkNamespace}", "--", "nft", "list", "ruleset");
}
