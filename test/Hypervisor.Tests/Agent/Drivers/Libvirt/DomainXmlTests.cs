using System.Xml.Linq;
using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Drivers.Libvirt;
using Hypervisor.Agent.Guests;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Xunit;

namespace Hypervisor.Tests.Agent.Drivers.Libvirt;

/// <summary>Protects: a guest is said to libvirt as it was meant, and nothing that a user, a path or a name holds becomes an element of its own.</summary>
public sealed class DomainXmlTests
{
    private const string Firmware = "/usr/share/OVMF";

    [Fact]
    public void A_whole_machine_is_exactly_this()
    {
        var expected = $"""
            <domain type="qemu">
              <name>zixiao-{Machines.Uid}</name>
              <uuid>{Machines.Uid}</uuid>
              <metadata>
                <zixiao:instance uid="{Machines.Uid}" epoch="7" xmlns:zixiao="urn:zixiao:instance:1" />
              </metadata>
              <memory unit="MiB">192</memory>
              <vcpu>2</vcpu>
              <cputune>
                <global_period>100000</global_period>
                <global_quota>150000</global_quota>
              </cputune>
              <os>
                <type arch="x86_64" machine="q35">hvm</type>
                <kernel>/boot/vmlinuz</kernel>
                <initrd>/boot/initramfs</initrd>
                <cmdline>console=ttyS0 quiet</cmdline>
              </os>
              <features>
                <acpi />
                <apic />
              </features>
              <cpu mode="maximum" />
              <clock offset="utc" />
              <on_poweroff>destroy</on_poweroff>
              <on_reboot>destroy</on_reboot>
              <on_crash>destroy</on_crash>
              <devices>
                <controller type="usb" model="none" />
                <disk type="file" device="disk">
                  <driver name="qemu" type="qcow2" discard="unmap" />
                  <source file="/data/root" />
                  <target dev="vda" bus="virtio" />
                  <serial>root</serial>
                </disk>
                <disk type="file" device="disk">
                  <driver name="qemu" type="raw" />
                  <source file="/data/config" />
                  <target dev="vdb" bus="virtio" />
                  <readonly />
                  <serial>config</serial>
                </disk>
                <interface type="ethernet">
                  <mac address="02:00:0a:80:00:02" />
                  <target dev="hv-tap0" managed="no" />
                  <model type="virtio" />
                  <mtu size="1450" />
                </interface>
                <serial type="unix">
                  <source mode="bind" path="/run/v/console" />
                  <log file="/data/console.log" append="on" />
                  <target port="0" />
                </serial>
                <channel type="unix">
                  <source mode="bind" path="/run/v/channel" />
                  <target type="virtio" name="zixiao.control" />
                </channel>
                <channel type="file">
                  <source path="/logs/out" append="on" />
                  <target type="virtio" name="zixiao.stdout" />
                </channel>
                <channel type="file">
                  <source path="/logs/err" append="on" />
                  <target type="virtio" name="zixiao.stderr" />
                </channel>
                <rng model="virtio">
                  <backend model="random">/dev/urandom</backend>
                </rng>
                <memballoon model="virtio" />
              </devices>
            </domain>
            """;

        Assert.Equal(XElement.Parse(expected).ToString(), Rendered(Machines.Direct()).ToString());
    }

    [Fact]
    public void A_disk_image_boots_itself_with_a_display_an_agents_channel_and_cdroms_on_sata()
    {
        var domain = Rendered(Machines.OfDisk());
        var devices = domain.Element("devices")!;

        Assert.Equal("type", Assert.Single(domain.Element("os")!.Elements()).Name.LocalName);
        Assert.Equal("restart", domain.Element("on_reboot")!.Value);
        Assert.Equal(["vda virtio", "vdb virtio", "sda sata"], devices.Elements("disk").Elements("target").Select(target => $"{target.Attribute("dev")!.Value} {target.Attribute("bus")!.Value}"));
        Assert.Equal(["root", "a-disk-with-a-name-o", "seed"], devices.Elements("disk").Elements("serial").Select(serial => serial.Value));
        Assert.Equal(["read_bytes_sec", "write_iops_sec"], devices.Elements("disk").Elements("iotune").Elements().Select(limit => limit.Name.LocalName));
        Assert.Equal("5", devices.Element("memballoon")!.Element("stats")!.Attribute("period")!.Value);
        Assert.Equal("/run/v/vnc", devices.Element("graphics")!.Element("listen")!.Attribute("socket")!.Value);
        Assert.Equal("org.qemu.guest_agent.0", Assert.Single(devices.Elements("channel")).Element("target")!.Attribute("name")!.Value);
    }

    [Fact]
    public void Uefi_is_a_readonly_firmware_with_variables_of_the_guests_own()
    {
        var boot = Rendered(Machines.OfDisk(new MachineSpec { Firmware = Hypervisor.Protocol.V1.Firmware.Uefi })).Element("os")!;

        Assert.Equal("""<loader readonly="yes" type="pflash">/usr/share/OVMF/OVMF_CODE_4M.fd</loader>""", boot.Element("loader")!.ToString());
        Assert.Equal("""<nvram template="/usr/share/OVMF/OVMF_VARS_4M.fd">/data/nvram</nvram>""", boot.Element("nvram")!.ToString());
    }

    [Theory]
    [InlineData(Accelerator.Kvm, "", "host-passthrough")]
    [InlineData(Accelerator.Kvm, "host-passthrough", "host-passthrough")]
    [InlineData(Accelerator.Kvm, "host-model", "host-model")]
    [InlineData(Accelerator.Tcg, "", "maximum")]
    [InlineData(Accelerator.Tcg, "host-passthrough", "maximum")]
    [InlineData(Accelerator.Tcg, "host-model", "maximum")]
    [InlineData(Accelerator.Tcg, "qemu64", "custom")]
    public void A_processor_is_what_the_accelerator_can_give(Accelerator accelerator, string asked, string mode)
    {
        var topology = new CpuTopology { Sockets = 1, Cores = 1, Threads = 2 };
        var domain = Rendered(Machines.OfDisk(new MachineSpec { CpuModel = asked, Topology = topology }) with { Accelerator = accelerator });
        var processor = domain.Element("cpu")!;

        Assert.Equal(accelerator == Accelerator.Kvm ? "kvm" : "qemu", domain.Attribute("type")!.Value);
        Assert.Equal((mode, mode == "custom" ? asked : null), (processor.Attribute("mode")!.Value, processor.Element("model")?.Value));
        Assert.Equal("""<topology sockets="1" cores="1" threads="2" />""", processor.Element("topology")!.ToString());
    }

    [Theory]
    [InlineData("</source><seclabel type='none'/><source>")]
    [InlineData("\"/><interface type='direct'/><x y=\"")]
    [InlineData("' file='/etc/shadow")]
    [InlineData("<!--")]
    [InlineData("]]>&<!DOCTYPE x [<!ENTITY e SYSTEM 'file:///etc/shadow'>]>&e;")]
    [InlineData("a\nb\tc\u0085")]
    public void Hostile_text_stays_a_value(string hostile)
    {
        var path = $"/data/{hostile}";
        var machine = Machines.Direct();
        var domain = Rendered(machine with
        {
            Boot = new DirectBoot(path, path, hostile),
            Disks = [machine.Disks[0] with { Path = path }, machine.Disks[1]],
            Nic = machine.Nic! with { Tap = hostile, HardwareAddress = hostile },
            RunDirectory = path,
            ConsoleLog = path,
            OutputFiles = (path, path),
        });

        Assert.Equal(Shape(Rendered(machine)), Shape(domain));
        Assert.Equal(path, domain.Element("devices")!.Element("disk")!.Element("source")!.Attribute("file")!.Value);
        Assert.Equal(hostile, domain.Element("os")!.Element("cmdline")!.Value);
    }

    [Fact]
    public void What_xml_or_libvirt_cannot_hold_is_refused()
    {
        Refused(Machines.Direct() with { ConsoleLog = "/data/a\0b" });
        Refused(Machines.Direct() with { Id = new InstanceId("no-uuid") });
        foreach (var name in (string[])["", "ro ot", "root\n", "a/b", "root,serial=x"])
        {
            Refused(Machines.Direct() with { Disks = [new GuestDisk(name, "/d", DiskFormat.Raw)] });
        }

        foreach (var model in (string[])["qemu64,+vmx", "a b", new string('a', 65)])
        {
            Refused(Machines.OfDisk(new MachineSpec { CpuModel = model }));
        }
    }

    [Fact]
    public void Memory_is_saved_without_any_disk()
    {
        var saved = XElement.Parse(DomainXml.RenderSave("/data/a\"b", ["vda", "sda"]));

        Assert.Equal("/data/a\"b", saved.Element("memory")!.Attribute("file")!.Value);
        Assert.Equal(["vda no", "sda no"], saved.Element("disks")!.Elements("disk").Select(disk => $"{disk.Attribute("name")!.Value} {disk.Attribute("snapshot")!.Value}"));
    }

    private static XElement Rendered(GuestMachine machine) => XElement.Parse(DomainXml.Render(machine, Firmware));

    /// <summary>Elements and attributes, without their values.</summary>
    private static List<string> Shape(XElement domain) =>
        [.. domain.DescendantsAndSelf().Select(element => $"{element.Name} {string.Join(' ', element.Attributes().Select(attribute => attribute.Name))}")];

    private static void Refused(GuestMachine machine)
    {
        var failure = Assert.Throws<DriverException>(() => DomainXml.Render(machine, Firmware));
        Assert.Equal(("GuestInvalid", true), (failure.Reason, failure.Permanent));
    }
}
