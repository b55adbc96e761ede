using System.Text;
using Grpc.Core;
using Hypervisor.ClusterTests.Faults;
using Hypervisor.Protocol.V1;
using Hypervisor.TestCluster;
using Xunit;

namespace Hypervisor.ClusterTests.Guests;

/// <summary>Protects: a VM's display is reached through the API as what QEMU speaks, by a token that is good once, and no longer than its VM is there.</summary>
[Collection(GuestCluster.Name)]
public sealed class DisplayTests(GuestCluster guests)
{
    private const string Banner = "RFB 003.008\n";

    [Fact]
    public async Task A_display_is_opened_once_per_token_and_ends_with_its_vm()
    {
        var cluster = await guests.BeginAsync();
        await cluster.CreateAsync(GuestCluster.EmptyDisk("shown"));
        await cluster.RunningAsync("shown", seconds: 120);

        var opened = await cluster.Compute.OpenVncAsync(new OpenVncRequest { Instance = "shown" }, deadline: LocalCluster.Deadline(10));
        using var display = await AttachAsync(cluster, opened.Token);
        Assert.Equal(Banner, await ReadAsync(display, Banner.Length));

        // The other side hears too: to the client's version it answers with the kinds of authentication that it takes, of which it has one, none.
        await display.RequestStream.WriteAsync(new VncInput { Data = Google.Protobuf.ByteString.CopyFromUtf8(Banner) });
        Assert.Equal("\u0001\u0001", await ReadAsync(display, 2));

        using var again = await AttachAsync(cluster, opened.Token);
        Assert.Equal(StatusCode.PermissionDenied, (await Assert.ThrowsAsync<RpcException>(() => ReadAsync(again, 1))).StatusCode);

        // It is cut off with its VM, whether as an end or as an error.
        await cluster.DeleteAsync("shown");
        var cut = await Record.ExceptionAsync(async () => Assert.Equal("", await ReadAsync(display, 1)));
        Assert.True(cut is null or RpcException { StatusCode: not StatusCode.DeadlineExceeded }, cut?.ToString());
        await cluster.LeavesAsync([], "the VM");
    }

    private static async Task<AsyncDuplexStreamingCall<VncInput, VncOutput>> AttachAsync(LocalCluster cluster, string token)
    {
        var call = cluster.Compute.AttachVnc(deadline: LocalCluster.Deadline(120));
        await call.RequestStream.WriteAsync(new VncInput { Instance = "shown", Token = token });
        return call;
    }

    /// <summary>Less than was asked for is the end.</summary>
    private static async Task<string> ReadAsync(AsyncDuplexStreamingCall<VncInput, VncOutput> call, int bytes)
    {
        var read = "";
        while (read.Length < bytes && await call.ResponseStream.MoveNext(TestContext.Current.CancellationToken))
        {
            read += Encoding.Latin1.GetString(call.ResponseStream.Current.Data.Span);
        }

        return read;
    }
}
