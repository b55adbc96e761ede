using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Guests;
using Hypervisor.Agent.Guests.Channel;
using Hypervisor.Agent.Guests.Disks;
using Hypervisor.Agent.Guests.Warm;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Xunit;

namespace Hypervisor.Tests.Agent.Guests.Warm;

/// <summary>Protects: a guest that was about to begin when the agent died is never taken for one that runs, and one that had begun is never ended.</summary>
public sealed class WarmStartsTests : IDisposable
{
    private readonly GuestScene _scene = new();

    public void Dispose() => _scene.Dispose();

    [Theory]
    [InlineData(true, 2)]
    [InlineData(false, 1)]
    public async Task A_guest_that_held_when_the_agent_died_begins_anew_and_one_that_was_let_go_runs_on(bool holds, int starts)
    {
        await _scene.RunAsync();
        _scene.Store.Write(_scene.Store.Read(_scene.Id.Value)! with { Held = true });
        _scene.NewAgent();
        _scene.Holds = holds;

        Assert.Equal(DriverState.Created, (await _scene.SeenAsync())!.State);
        await _scene.Driver.StartAsync(_scene.Id, new Epoch(5), default);

        Assert.Equal(starts, _scene.Vmm.Started.Count);
        Assert.Equal(DriverState.Running, (await _scene.SeenAsync())!.State);
        Assert.False(_scene.Store.Read(_scene.Id.Value)!.Held);
    }

    [Fact]
    public async Task What_cannot_start_warm_starts_cold()
    {
        _scene.Vmm.Abilities |= VmmAbilities.SharedMemory;
        await _scene.Driver.CreateAsync(_scene.Definition(change: assignment => assignment.Spec.Machine = new MachineSpec { WarmStart = true }), default);
        await _scene.Driver.StartAsync(_scene.Id, new Epoch(5), default);

        Assert.Null(Assert.Single(_scene.Vmm.Started).Memory);
        Assert.Empty(_scene.Begun);
        Assert.False(_scene.Store.Read(_scene.Id.Value)!.Held);
        Assert.Equal(_scene.Id.Value.Replace("-", "", StringComparison.Ordinal), _scene.Configs[^1].MachineId);
    }

    [Theory]
    [InlineData(true, null, true)]
    [InlineData(true, false, false)]
    [InlineData(false, true, true)]
    [InlineData(false, null, false)]
    public async Task An_image_asks_for_it_where_the_instance_says_nothing(bool image, bool? instance, bool warm)
    {
        _scene.Process = _scene.Process! with { WarmStart = image };
        await _scene.Driver.CreateAsync(
            _scene.Definition(change: assignment =>
            {
                assignment.Spec.Machine = new MachineSpec();
                if (instance is { } said)
                {
                    assignment.Spec.Machine.WarmStart = said;
                }
            }),
            default);

        Assert.Equal(warm, WarmStarts.IsWanted(_scene.Store.Read(_scene.Id.Value)!, VmmAbilities.SharedMemory));
    }

    [Fact]
    public void What_the_memory_depends_on_is_in_its_key()
    {
        var machine = new GuestMachine(_scene.Id, new Epoch(1), new Assignment(), Accelerator.Tcg)
        {
            VirtualCpus = 1,
            Limits = new InstanceLimits(1000, 128 << 20, 0),
            Disks = [],
            Nic = new GuestNic("tap0", "02:00:0a:80:00:02", 1500),
            RunDirectory = "/run",
            ConsoleLog = "/console",
        };
        var origin = new DiskOrigin("sha256:1", "build", "/root", DiskFormat.Raw);
        var key = WarmKey.Of(machine, origin, 1, "kernel", "qemu 7.2", "boot");
        string[] others =
        [
            WarmKey.Of(machine with { VirtualCpus = 2 }, origin, 1, "kernel", "qemu 7.2", "boot"),
            WarmKey.Of(machine with { Limits = new InstanceLimits(1000, 256 << 20, 0) }, origin, 1, "kernel", "qemu 7.2", "boot"),
            WarmKey.Of(machine with { Nic = null }, origin, 1, "kernel", "qemu 7.2", "boot"),
            WarmKey.Of(machine with { Nic = machine.Nic with { Mtu = 1450 } }, origin, 1, "kernel", "qemu 7.2", "boot"),
            WarmKey.Of(machine, origin with { Digest = "sha256:2" }, 1, "kernel", "qemu 7.2", "boot"),
            WarmKey.Of(machine, origin with { Build = "other" }, 1, "kernel", "qemu 7.2", "boot"),
            WarmKey.Of(machine, origin, 2, "kernel", "qemu 7.2", "boot"),
            WarmKey.Of(machine, origin, 1, "other", "qemu 7.2", "boot"),
            WarmKey.Of(machine, origin, 1, "kernel", "qemu 8.0", "boot"),
            WarmKey.Of(machine, origin, 1, "kernel", "qemu 7.2", "other"),
        ];

        Assert.Equal(64, key.Length);
        Assert.Equal(others.Length + 1, others.Append(key).Distinct(StringComparer.Ordinal).Count());

        // Who it is does not matter: it is told later.
        Assert.Equal(key, WarmKey.Of(machine with { Nic = new GuestNic("tap1", "02:00:0a:80:00:03", 1500), RunDirectory = "/other" }, origin, 1, "kernel", "qemu 7.2", "boot"));
    }

    [Fact]
    public void A_config_drive_is_as_large_as_it_is_asked_to_be_and_has_its_exit_at_the_end()
    {
        Assert.Equal(WarmLimits.DriveBytes, ConfigDrive.Render(new byte[100], WarmLimits.DriveBytes).Length);
        Assert.Equal(8192, ConfigDrive.Render(new byte[100]).Length);
        Assert.True(ConfigDrive.Render(new byte[WarmLimits.DriveBytes], WarmLimits.DriveBytes).Length > WarmLimits.DriveBytes);
    }
}
