using System.Text.Json;
using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Drivers.Qemu;
using Hypervisor.Agent.Guests;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Xunit;

namespace Hypervisor.Tests.Agent.Drivers.Qemu;

/// <summary>Protects: nothing that a user, a path or a name holds is taken by QEMU for an option of its own.</summary>
public sealed class QemuCommandLineTests
{
    private const string Uid = "11111111-2222-4333-8444-555555555555";

    [Fact]
    public void A_whole_machine_is_exactly_this()
    {
        var arguments = QemuCommandLine.Render(Machine() with { Nic = new GuestNic("hv-tap0", "02:00:0a:80:00:02", 1450) });

        Assert.Equal(
        [
            "-name", $"zixiao-{Uid}", "-uuid", Uid,
            "-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
            "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
            "-M", "microvm", "-accel", "tcg", "-cpu", "max", "-smp", "2", "-m", "192",
            "-kernel", "/boot/vmlinux", "-initrd", "/boot/initramfs", "-append", "console=ttyS0 quiet",
            "-chardev", "socket,id=qmp,path=/run/m/qmp,server=on,wait=off", "-mon", "chardev=qmp,mode=control",
            "-chardev", "socket,id=console,path=/run/m/console,server=on,wait=off,logfile=/data/console.log,logappend=on", "-serial", "chardev:console",
            "-object", "rng-random,id=rng,filename=/dev/urandom", "-device", "virtio-rng-device,rng=rng",
            "-device", "virtio-serial-device",
            "-chardev", "socket,id=control,path=/run/m/channel,server=on,wait=off", "-device", "virtserialport,chardev=control,name=zixiao.control",
            "-chardev", "file,id=stdout,path=/logs/out,append=on", "-device", "virtserialport,chardev=stdout,name=zixiao.stdout",
            "-chardev", "file,id=stderr,path=/logs/err,append=on", "-device", "virtserialport,chardev=stderr,name=zixiao.stderr",
            "-blockdev", """{"driver":"qcow2","node-name":"disk-root","read-only":false,"discard":"unmap","file":{"driver":"file","filename":"/data/root"}}""",
            "-device", "virtio-blk-device,drive=disk-root,serial=root",
            "-blockdev", """{"driver":"raw","node-name":"disk-config","read-only":true,"file":{"driver":"file","filename":"/data/config"}}""",
            "-device", "virtio-blk-device,drive=disk-config,serial=config",
            "-netdev", "tap,id=net,ifname=hv-tap0,script=no,downscript=no", "-device", "virtio-net-device,netdev=net,mac=02:00:0a:80:00:02,host_mtu=1450",
            "-device", "virtio-balloon-device,id=balloon,deflate-on-oom=on",
        ], arguments);
    }

    [Fact]
    public void A_rate_is_a_group_of_the_disks_own_above_its_format()
    {
        var disk = new GuestDisk("root", "/data/root", DiskFormat.Qcow2) { Rate = new IoRate(1_000_000, 2_000_000, 0, 200) };
        var arguments = QemuCommandLine.Render(Machine() with { Disks = [disk] });

        Assert.Contains("""{"qom-type":"throttle-group","id":"disk-root-rate","limits":{"bps-read":1000000,"bps-write":2000000,"iops-read":0,"iops-write":200}}""", arguments);
        Assert.Equal(
            """{"driver":"throttle","node-name":"disk-root","throttle-group":"disk-root-rate","read-only":false,"discard":"unmap","file":"""
            + """{"driver":"qcow2","read-only":false,"discard":"unmap","file":{"driver":"file","filename":"/data/root"}}}""",
            After(arguments, "-blockdev"));
        Assert.Contains("virtio-blk-device,drive=disk-root,serial=root", arguments);
    }

    [Fact]
    public void A_rate_without_a_limit_is_none()
    {
        Assert.Null(IoRate.Of(null));
        Assert.Null(IoRate.Of(new DiskRates()));
        Assert.Equal(new IoRate(0, 0, 0, 10), IoRate.Of(new DiskRates { WriteOperationsPerSecond = 10 }));
    }

    [Fact]
    public void Kvm_brings_the_hosts_own_processor_and_a_restore_reads_standard_input()
    {
        var arguments = QemuCommandLine.Render(Machine() with { Accelerator = Accelerator.Kvm, RestoreFrom = "/data/memory" });

        Assert.Equal(("kvm", "host", "fd:0"), (After(arguments, "-accel"), After(arguments, "-cpu"), After(arguments, "-incoming")));
    }

    [Theory]
    [InlineData(Accelerator.Tcg, "glibc.malloc.hugetlb=1:glibc.malloc.arena_max=1:glibc.malloc.top_pad=4194304")]
    [InlineData(Accelerator.Kvm, "")]
    public void A_warm_start_announces_no_address_and_has_another_heap_under_emulation(Accelerator accelerator, string tunables)
    {
        var cold = Machine() with { Accelerator = accelerator };
        var warm = cold with { RestoreFrom = "/data/state", Memory = new GuestMemoryFile("/data/memory", IsPrivate: true) };

        var arguments = QemuCommandLine.Render(warm);

        Assert.Equal(("defer", "migration.announce-rounds=0"), (After(arguments, "-incoming"), After(arguments, "-global")));
        Assert.Equal(tunables, QemuCommandLine.Tunables(warm));
    }

    [Fact]
    public void A_cold_start_a_template_and_a_restore_have_the_ordinary_heap()
    {
        var cold = Machine() with { Accelerator = Accelerator.Tcg };

        Assert.Equal("", QemuCommandLine.Tunables(cold));
        Assert.Equal("", QemuCommandLine.Tunables(cold with { Memory = new GuestMemoryFile("/data/memory", IsPrivate: false) }));
        Assert.Equal("", QemuCommandLine.Tunables(cold with { RestoreFrom = "/data/state" }));
    }

    [Fact]
    public void Without_our_init_the_machine_stays_until_its_end_was_seen()
    {
        var arguments = QemuCommandLine.Render(Machine() with { OutputFiles = null });

        Assert.Contains("-no-shutdown", arguments);
        Assert.DoesNotContain(arguments, argument => argument.Contains("zixiao.control", StringComparison.Ordinal));
    }

    [Fact]
    public void Commas_in_paths_stay_part_of_the_path()
    {
        var machine = Machine() with { RunDirectory = "/run/a,server=off", ConsoleLog = "/data/x,logappend=off", OutputFiles = ("/logs/a,b", "/logs/c,d") };
        var arguments = QemuCommandLine.Render(machine);

        Assert.Contains("socket,id=qmp,path=/run/a,,server=off/qmp,server=on,wait=off", arguments);
        Assert.Contains(arguments, argument => argument.EndsWith("logfile=/data/x,,logappend=off,logappend=on", StringComparison.Ordinal));
        Assert.Contains("file,id=stdout,path=/logs/a,,b,append=on", arguments);
    }

    [Fact]
    public void A_disks_path_is_a_string_whatever_it_holds()
    {
        const string path = "/data/\",\"driver\":\"host_device\",x=json:{}'";
        var arguments = QemuCommandLine.Render(Machine() with { Disks = [new GuestDisk("root", path, DiskFormat.Raw)] });
        using var parsed = JsonDocument.Parse(After(arguments, "-blockdev"));

        Assert.Equal(path, parsed.RootElement.GetProperty("file").GetProperty("filename").GetString());
        Assert.Equal("file", parsed.RootElement.GetProperty("file").GetProperty("driver").GetString());
    }

    [Theory]
    [InlineData("root,readonly=on")]
    [InlineData("")]
    [InlineData("ro ot")]
    [InlineData("root\n")]
    public void A_disk_name_that_is_no_label_is_refused(string name) => Refused(Machine() with { Disks = [new GuestDisk(name, "/d", DiskFormat.Raw)] });

    [Theory]
    [InlineData("tap0,script=/bin/sh")]
    [InlineData("")]
    [InlineData("a-name-far-too-long-for-linux")]
    public void A_tap_that_is_no_interface_name_is_refused(string tap) => Refused(Machine() with { Nic = new GuestNic(tap, "02:00:0a:80:00:02", 1500) });

    [Fact]
    public void An_address_that_is_none_is_refused() => Refused(Machine() with { Nic = new GuestNic("tap0", "02:00:0a:80:00,x=y", 1500) });

    [Theory]
    [InlineData("qemu64,+vmx")]
    [InlineData("-machine")]
    [InlineData("a b")]
    public void A_cpu_model_with_options_is_refused(string model)
    {
        var machine = Machine();
        machine.MadeFrom.Spec.Machine = new MachineSpec { CpuModel = model };
        if (model == "-machine")
        {
            // It is the value of -cpu, and so no option whatever it begins with; QEMU knows no such model.
            Assert.Equal(model, After(QemuCommandLine.Render(machine), "-cpu"));
            return;
        }

        Refused(machine);
    }

    [Fact]
    public void A_guest_that_boots_itself_or_has_no_uuid_is_refused()
    {
        Refused(Machine() with { Boot = null });
        Refused(Machine() with { Id = new InstanceId("x,process=y") });
        Refused(Machine() with { ConsoleLog = "/data/a\nb" });
    }

    [Fact]
    public void A_process_is_of_a_guest_only_by_its_own_name()
    {
        Assert.True(QemuCommandLine.IsOf(Uid, QemuCommandLine.Render(Machine())));
        Assert.False(QemuCommandLine.IsOf("21111111-2222-4333-8444-555555555555", QemuCommandLine.Render(Machine())));
        Assert.False(QemuCommandLine.IsOf(Uid, [$"zixiao-{Uid}", "-name"]));
        Assert.False(QemuCommandLine.IsOf(Uid, []));
    }

    private static void Refused(GuestMachine machine)
    {
        var failure = Assert.Throws<DriverException>(() => QemuCommandLine.Render(machine));
        Assert.Equal(("GuestInvalid", true), (failure.Reason, failure.Permanent));
    }

    private static string After(IReadOnlyList<string> arguments, string option) => arguments[arguments.ToList().IndexOf(option) + 1];

    private static GuestMachine Machine() => new(
        new InstanceId(Uid), new Epoch(1), new Assignment { Uid = Uid, Spec = new InstanceSpec() }, Accelerator.Tcg)
    {
        VirtualCpus = 2,
        Limits = new InstanceLimits(1500, 192 << 20, 0),
        Boot = new DirectBoot("/boot/vmlinux", "/boot/initramfs", "console=ttyS0 quiet"),
        Disks = [new GuestDisk("root", "/data/root", DiskFormat.Qcow2), new GuestDisk("config", "/data/config", DiskFormat.Raw, ReadOnly: true)],
        RunDirectory = "/run/m",
        ConsoleLog = "/data/console.log",
        OutputFiles = ("/logs/out", "/logs/err"),
    };
}
