using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Drivers.Firecracker;
using Hypervisor.Agent.Drivers.Firecracker.Api;
using Hypervisor.FirecrackerStandIn;
using Hypervisor.FirecrackerStandIn.Guests;
using Xunit;

namespace Hypervisor.Tests.Agent.Drivers.Firecracker;

/// <summary>What the driver says to Firecracker, call by call; the strict stand-in takes it. Protects the order and the bodies.</summary>
public sealed class MachineCallsTests : IDisposable
{
    private readonly ScratchFolder _folder = new();
    private readonly List<string> _calls = [];

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task Boots_by_these_calls_in_this_order()
    {
        foreach (var name in (string[])["kernel", "initramfs", "disk-root", "disk-config-1", "log", "metrics"])
        {
            await File.WriteAllTextAsync(_folder[name], name == "kernel" ? "\u007fELF" : "");
        }

        Directory.CreateDirectory(_folder["sockets"]);
        await CallAsync((client, token) => MachineCalls.StartAsync(
            client, Machines.Small(_folder.Path), new FirecrackerOptions { Metrics = true, TrackDirtyPages = true }, token));

        Assert.Equal(
            [
                """PUT /logger {"log_path":"log","level":"Warning","show_level":true}""",
                """PUT /metrics {"metrics_path":"metrics"}""",
                """PUT /machine-config {"vcpu_count":2,"mem_size_mib":192,"smt":false,"track_dirty_pages":true}""",
                """PUT /boot-source {"kernel_image_path":"kernel","initrd_path":"initramfs","boot_args":"console=ttyS0 reboot=k panic=1"}""",
                """PUT /drives/root {"drive_id":"root","path_on_host":"disk-root","is_root_device":true,"is_read_only":false,"cache_type":"Writeback","io_engine":"Sync","rate_limiter":{"bandwidth":{"size":1000000,"refill_time":100},"ops":{"size":50,"refill_time":100}}}""",
                """PUT /drives/config_1 {"drive_id":"config_1","path_on_host":"disk-config-1","is_root_device":false,"is_read_only":true,"cache_type":"Unsafe","io_engine":"Sync"}""",
                "GET /version ",
                """PUT /network-interfaces/eth0 {"iface_id":"eth0","host_dev_name":"hvt0","guest_mac":"02:00:0a:80:00:02","mtu":1450}""",
                """PUT /vsock {"guest_cid":3,"uds_path":"sockets/channel"}""",
                """PUT /balloon {"amount_mib":0,"deflate_on_oom":true,"stats_polling_interval_s":0}""",
                "PUT /entropy {}",
                """PUT /actions {"action_type":"InstanceStart"}""",
            ],
            _calls);
    }

    [Fact]
    public async Task Goes_on_from_a_snapshot_by_two_calls()
    {
        // The stand-in refuses the snapshot that is not there: what was asked for is what this is about.
        await File.WriteAllTextAsync(_folder["log"], "");
        await Assert.ThrowsAsync<DriverException>(() => CallAsync((client, token) => MachineCalls.StartAsync(
            client, Machines.Small(_folder.Path) with { RestoreFrom = "/anything", StayPaused = true }, new FirecrackerOptions(), token)));
        Assert.Equal(
            [
                """PUT /logger {"log_path":"log","level":"Warning","show_level":true}""",
                """PUT /snapshot/load {"snapshot_path":"restored.state","mem_backend":{"backend_type":"File","backend_path":"restored.memory"},"track_dirty_pages":false,"resume_vm":false,"network_overrides":[{"iface_id":"eth0","host_dev_name":"hvt0"}]}""",
            ],
            _calls);
    }

    [Fact]
    public async Task Says_the_rest_of_what_it_may_say()
    {
        await File.WriteAllTextAsync(_folder["kernel"], "\u007fELF");
        await File.WriteAllTextAsync(_folder["d"], "");
        await CallAsync(async (client, token) =>
        {
            await client.BootFromAsync(new BootSourceBody("kernel", "kernel", ""), token);
            await client.AddDriveAsync(new DriveBody("d", "d", false, false, "Unsafe", "Sync", null), token);
            await client.AddBalloonAsync(new BalloonBody(0, true, 0), token);
            await File.WriteAllTextAsync(_folder["m"], "", token);
            await client.MeasureAsync(new MetricsBody("m"), token);
            await client.ActAsync(ActionBody.InstanceStart, token);
            await client.ActAsync(ActionBody.FlushMetrics, token);
            await client.ActAsync(ActionBody.SendCtrlAltDel, token);
            await client.UpdateDriveAsync(new PartialDriveBody("d", "kernel", null), token);
            await client.InflateBalloonAsync(new BalloonUpdateBody(16), token);
            await client.SetStateAsync(VmStateBody.Paused, token);
            await client.CreateSnapshotAsync(new SnapshotCreateBody("s", "mem", SnapshotCreateBody.Full), TimeSpan.FromSeconds(5), token);
            Assert.Equal("Paused", (await client.DescribeAsync(token)).State);
            await client.SetStateAsync(VmStateBody.Resumed, token);
        });
    }

    [Fact]
    public async Task Tells_a_fault_in_firecrackers_own_words()
    {
        var error = await Assert.ThrowsAsync<DriverException>(
            () => CallAsync((client, token) => client.BootFromAsync(new BootSourceBody("missing", "x", ""), token)));
        Assert.Equal(FirecrackerClient.Refused, error.Reason);
        Assert.StartsWith("firecracker refused PUT /boot-source: The kernel file cannot be opened", error.Message, StringComparison.Ordinal);
    }

    private async Task CallAsync(Func<FirecrackerClient, CancellationToken, Task> action)
    {
        // As in the guest's folder: Firecracker's paths are relative to it, and these tests cannot have a folder of their own.
        await using var machine = new Microvm("id", "1.17.0", new NoGuest()) { Folder = _folder.Path };
        await using var server = await ApiServer.StartAsync(_folder["api"], machine, (method, path, body) => _calls.Add($"{method} {path} {body}"));
        using var root = GuestRoot.Open(_folder.Path)!;
        using var client = new FirecrackerClient(token => root.ConnectAsync("api", token), RealClock.Instance);
        await action(client, TestContext.Current.CancellationToken);
    }
}
