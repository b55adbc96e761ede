using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Drivers.Libvirt;
using Hypervisor.Protocol;
using Microsoft.Extensions.Time.Testing;
using Xunit;

namespace Hypervisor.Tests.Agent.Drivers.Libvirt;

/// <summary>Protects: a node without libvirtd says what is missing, and guests that it may have had are not taken for gone.</summary>
public sealed class LibvirtVmmTests : IDisposable
{
    private static readonly InstanceId Id = new(Machines.Uid);

    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("lv-");
    private readonly LibvirtOptions _options;
    private readonly LibvirtVmm _vmm;

    public LibvirtVmmTests()
    {
        _options = new LibvirtOptions { Uri = $"qemu:///system?socket={At("libvirt sock").Replace(" ", "%20", StringComparison.Ordinal)}", StateDirectory = At("state") };
        _vmm = LibvirtServices.Create(_options, new FakeTimeProvider());
    }

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    public void Dispose()
    {
        _vmm.Dispose();
        _folder.Delete(recursive: true);
    }

    [Fact]
    public async Task Without_libvirtd_there_are_no_guests_and_the_remedy_is_named()
    {
        var info = await _vmm.ProbeAsync(Cancel);

        Assert.False(info.Available);
        Assert.Contains(At("libvirt sock"), info.Message, StringComparison.Ordinal);
        Assert.Contains("libvirt-daemon-system", info.Message, StringComparison.Ordinal);
        Assert.Empty(await _vmm.ListAsync(Cancel));
        Assert.Null(await _vmm.GetAsync(Id, Cancel));
        await _vmm.RemoveAsync(Id, Cancel);
    }

    [Fact]
    public async Task Guests_that_it_may_hold_are_unknown_until_it_is_back()
    {
        new LibvirtRecords(_options.StateDirectory).Add(Id);

        await UnavailableAsync(() => _vmm.ListAsync(Cancel));
        await UnavailableAsync(() => _vmm.GetAsync(Id, Cancel));
        await UnavailableAsync(() => _vmm.RemoveAsync(Id, Cancel));
        await UnavailableAsync(() => _vmm.StartAsync(Machines.Direct(), Cancel));
        Assert.Null(await _vmm.GetAsync(new InstanceId("41111111-2222-4333-8444-555555555555"), Cancel));

        // What has to end is looked for among the processes.
        await _vmm.KillAsync(Id, Cancel);
    }

    [Theory]
    [InlineData("qemu:///system?socket=/run/a%20b", "/run/a b")]
    [InlineData("qemu:///system?keepalive_interval=5&socket=/run/x", "/run/x")]
    public void The_socket_is_the_one_that_the_uri_names(string uri, string socket) =>
        Assert.Equal(socket, new LibvirtOptions { Uri = uri, StateDirectory = "/s" }.Socket);

    [Fact]
    public void A_process_is_of_a_guest_only_by_its_own_name()
    {
        Assert.True(LibvirtProcesses.IsOf(Machines.Uid, ["/usr/bin/qemu-system-x86_64", "-name", $"guest=zixiao-{Machines.Uid},debug-threads=on"]));
        Assert.False(LibvirtProcesses.IsOf(Machines.Uid, ["qemu", "-name", "guest=zixiao-41111111-2222-4333-8444-555555555555,debug-threads=on"]));
        Assert.False(LibvirtProcesses.IsOf(Machines.Uid, ["qemu", "-name", $"zixiao-{Machines.Uid}"]));
        Assert.False(LibvirtProcesses.IsOf(Machines.Uid, [$"guest=zixiao-{Machines.Uid}", "-name"]));
        Assert.False(LibvirtProcesses.IsOf(Machines.Uid, []));
    }

    private static async Task UnavailableAsync(Func<Task> call) =>
        Assert.Equal("RuntimeUnavailable", (await Assert.ThrowsAsync<DriverException>(call)).Reason);

    private string At(string name) => Path.Combine(_folder.FullName, name);
}
