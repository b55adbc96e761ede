using System.Globalization;
using System.Text;
using System.Xml;
using Hypervisor.Agent.Guests;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Drivers.Libvirt;

/// <summary>A guest as libvirt's domain XML (https://libvirt.org/formatdomain.html): a pure function.</summary>
/// <remarks>Everything is written by an XML writer: what a user wrote can be a value, and nothing else.</remarks>
internal static class DomainXml
{
    public const string NamePrefix = "zixiao-";

    /// <summary>Of the element that says whose a domain is.</summary>
    public const string Namespace = "urn:zixiao:instance:1";

    private const int PeriodMicroseconds = 100_000;
    private const int LongestSerial = 20;

    public static string NameOf(string uid) => NamePrefix + uid;

    /// <exception cref="DriverException">GuestInvalid: something of it cannot be said to libvirt.</exception>
    public static string Render(GuestMachine machine, string firmwareDirectory)
    {
        var text = new StringBuilder();
        using (var xml = XmlWriter.Create(text, new XmlWriterSettings { OmitXmlDeclaration = true, Indent = true }))
        {
            try
            {
                Write(xml, machine, firmwareDirectory);
            }
            catch (ArgumentException invalid)
            {
                // A character that XML does not have.
                throw Invalid(invalid.Message);
            }
        }

        return text.ToString();
    }

    /// <summary>Memory to a file while the machine stays as it is; disks are no part of it.</summary>
    public static string RenderSave(string path, IEnumerable<string> targets)
    {
        var text = new StringBuilder();
        using (var xml = XmlWriter.Create(text, new XmlWriterSettings { OmitXmlDeclaration = true }))
        {
            xml.WriteStartElement("domainsnapshot");
            Element(xml, "memory", ("snapshot", "external"), ("file", path));
            xml.WriteStartElement("disks");
            foreach (var target in targets)
            {
                Element(xml, "disk", ("name", target), ("snapshot", "no"));
            }

            xml.WriteEndElement();
            xml.WriteEndElement();
        }

        return text.ToString();
    }

    /// <summary>As the guest sees them: vda, vdb; CD-ROMs are on SATA.</summary>
    public static IReadOnlyList<string> Targets(IReadOnlyList<GuestDisk> disks)
    {
        var (virtio, sata) = (0, 0);
        return [.. disks.Select(disk => disk.CdRom ? $"sd{(char)('a' + sata++)}" : $"vd{(char)('a' + virtio++)}")];
    }

    private static void Write(XmlWriter xml, GuestMachine machine, string firmwareDirectory)
    {
        var uid = Guid.TryParseExact(machine.Id.Value, "D", out _) ? machine.Id.Value : throw Invalid("its uid is no UUID");
        xml.WriteStartElement("domain");
        xml.WriteAttributeString("type", machine.Accelerator == Accelerator.Kvm ? "kvm" : "qemu");
        xml.WriteElementString("name", NameOf(uid));
        xml.WriteElementString("uuid", uid);
        xml.WriteStartElement("metadata");
        xml.WriteStartElement("zixiao", "instance", Namespace);
        xml.WriteAttributeString("uid", uid);
        xml.WriteAttributeString("epoch", Number(machine.Epoch.Value));
        xml.WriteEndElement();
        xml.WriteEndElement();
        WriteSize(xml, machine);
        WriteBoot(xml, machine, firmwareDirectory);
        WriteProcessor(xml, machine);
        Element(xml, "clock", ("offset", "utc"));
        xml.WriteElementString("on_poweroff", "destroy");

        // Our init ends a machine that way; a system of its own means it.
        xml.WriteElementString("on_reboot", machine.Boot is null ? "restart" : "destroy");
        xml.WriteElementString("on_crash", "destroy");
        WriteDevices(xml, machine);
        xml.WriteEndElement();
    }

    private static void WriteSize(XmlWriter xml, GuestMachine machine)
    {
        xml.WriteStartElement("memory");
        xml.WriteAttributeString("unit", "MiB");
        xml.WriteString(Number(Math.Max(1, machine.Limits.MemoryBytes >> 20)));
        xml.WriteEndElement();
        xml.WriteElementString("vcpu", Number(machine.VirtualCpus));
        if (machine.Limits.CpuMillicores > 0)
        {
            xml.WriteStartElement("cputune");
            xml.WriteElementString("global_period", Number(PeriodMicroseconds));
            xml.WriteElementString("global_quota", Number(machine.Limits.CpuMillicores * PeriodMicroseconds / 1000));
            xml.WriteEndElement();
        }
    }

    private static void WriteBoot(XmlWriter xml, GuestMachine machine, string firmwareDirectory)
    {
        xml.WriteStartElement("os");
        xml.WriteStartElement("type");
        xml.WriteAttributeString("arch", "x86_64");
        xml.WriteAttributeString("machine", "q35");
        xml.WriteString("hvm");
        xml.WriteEndElement();
        if (machine.Boot is { } boot)
        {
            xml.WriteElementString("kernel", boot.Kernel);
            xml.WriteElementString("initrd", boot.Initramfs);
            xml.WriteElementString("cmdline", boot.CommandLine);
        }
        else if (machine.MadeFrom.Spec.Machine?.Firmware == Firmware.Uefi)
        {
            xml.WriteStartElement("loader");
            xml.WriteAttributeString("readonly", "yes");
            xml.WriteAttributeString("type", "pflash");
            xml.WriteString(Path.Combine(firmwareDirectory, "OVMF_CODE_4M.fd"));
            xml.WriteEndElement();
            xml.WriteStartElement("nvram");
            xml.WriteAttributeString("template", Path.Combine(firmwareDirectory, "OVMF_VARS_4M.fd"));
            xml.WriteString(NvramOf(machine));
            xml.WriteEndElement();
        }

        xml.WriteEndElement();
        xml.WriteStartElement("features");
        xml.WriteElementString("acpi", null);
        xml.WriteElementString("apic", null);
        xml.WriteEndElement();
    }

    /// <summary>Beside its disks: what a firmware was told survives a reboot of the node.</summary>
    private static string NvramOf(GuestMachine machine) =>
        Path.Combine(Path.GetDirectoryName(machine.ConsoleLog) ?? throw Invalid("its console has no folder"), "nvram");

    private static void WriteProcessor(XmlWriter xml, GuestMachine machine)
    {
        var asked = machine.MadeFrom.Spec.Machine?.CpuModel ?? "";
        xml.WriteStartElement("cpu");
        if (asked is "" or "host-passthrough" or "host-model")
        {
            // Under emulation there is no host to pass through; all that QEMU can do comes nearest.
            xml.WriteAttributeString("mode", machine.Accelerator == Accelerator.Kvm ? (asked.Length > 0 ? asked : "host-passthrough") : "maximum");
        }
        else if (asked.Length <= 64 && asked.All(character => char.IsAsciiLetterOrDigit(character) || character is '-' or '_' or '.'))
        {
            xml.WriteAttributeString("mode", "custom");
            xml.WriteAttributeString("match", "exact");
            xml.WriteAttributeString("check", "none");
            xml.WriteStartElement("model");
            xml.WriteAttributeString("fallback", "forbid");
            xml.WriteString(asked);
            xml.WriteEndElement();
        }
        else
        {
            throw Invalid($"spec.machine.cpu_model: \"{asked}\" is no CPU model; leave it empty, or choose one of qemu-system-x86_64 -cpu help");
        }

        if (machine.MadeFrom.Spec.Machine?.Topology is { Sockets: > 0, Cores: > 0, Threads: > 0 } topology)
        {
            Element(xml, "topology", ("sockets", Number(topology.Sockets)), ("cores", Number(topology.Cores)), ("threads", Number(topology.Threads)));
        }

        xml.WriteEndElement();
    }

    private static void WriteDevices(XmlWriter xml, GuestMachine machine)
    {
        xml.WriteStartElement("devices");

        // Each device that is not there is one less to find at boot.
        Element(xml, "controller", ("type", "usb"), ("model", "none"));
        var targets = Targets(machine.Disks);
        for (var index = 0; index < machine.Disks.Count; index++)
        {
            WriteDisk(xml, machine.Disks[index], targets[index]);
        }

        if (machine.Nic is { } nic)
        {
            WriteInterface(xml, nic);
        }

        xml.WriteStartElement("serial");
        xml.WriteAttributeString("type", "unix");
        Element(xml, "source", ("mode", "bind"), ("path", machine.ConsoleSocket));
        Element(xml, "log", ("file", machine.ConsoleLog), ("append", "on"));
        Element(xml, "target", ("port", "0"));
        xml.WriteEndElement();
        WriteChannels(xml, machine);
        if (machine.Boot is null)
        {
            WriteDisplay(xml, machine);
        }

        xml.WriteStartElement("rng");
        xml.WriteAttributeString("model", "virtio");
        xml.WriteStartElement("backend");
        xml.WriteAttributeString("model", "random");
        xml.WriteString("/dev/urandom");
        xml.WriteEndElement();
        xml.WriteEndElement();
        WriteBalloon(xml, machine);
        xml.WriteEndElement();
    }

    private static void WriteBalloon(XmlWriter xml, GuestMachine machine)
    {
        xml.WriteStartElement("memballoon");
        xml.WriteAttributeString("model", "virtio");
        if (machine.OutputFiles is null)
        {
            // How much memory it uses nobody tells but its kernel; our init is asked itself.
            Element(xml, "stats", ("period", Number((long)GuestLimits.BalloonInterval.TotalSeconds)));
        }

        xml.WriteEndElement();
    }

    private static void WriteChannels(XmlWriter xml, GuestMachine machine)
    {
        if (machine.OutputFiles is { } files)
        {
            Channel("unix", "zixiao.control", ("mode", "bind"), ("path", machine.ChannelSocket));
            Channel("file", "zixiao.stdout", ("path", files.Output), ("append", "on"));
            Channel("file", "zixiao.stderr", ("path", files.Error), ("append", "on"));
        }
        else
        {
            Channel("unix", "org.qemu.guest_agent.0", ("mode", "bind"), ("path", machine.GuestAgentSocket));
        }

        void Channel(string type, string name, params (string, string)[] source)
        {
            xml.WriteStartElement("channel");
            xml.WriteAttributeString("type", type);
            Element(xml, "source", source);
            Element(xml, "target", ("type", "virtio"), ("name", name));
            xml.WriteEndElement();
        }
    }

    private static void WriteDisplay(XmlWriter xml, GuestMachine machine)
    {
        xml.WriteStartElement("graphics");
        xml.WriteAttributeString("type", "vnc");
        Element(xml, "listen", ("type", "socket"), ("socket", machine.VncSocket));
        xml.WriteEndElement();
        xml.WriteStartElement("video");
        Element(xml, "model", ("type", "vga"));
        xml.WriteEndElement();
    }

    private static void WriteDisk(XmlWriter xml, GuestDisk disk, string target)
    {
        // Our own names and RFC 1123 labels.
        if (disk.Name.Length == 0 || !disk.Name.All(character => char.IsAsciiLetterOrDigit(character) || character == '-'))
        {
            throw Invalid($"the disk name \"{disk.Name}\" is no label");
        }

        xml.WriteStartElement("disk");
        xml.WriteAttributeString("type", "file");
        xml.WriteAttributeString("device", disk.CdRom ? "cdrom" : "disk");
        xml.WriteStartElement("driver");
        xml.WriteAttributeString("name", "qemu");
        xml.WriteAttributeString("type", disk.Format == DiskFormat.Qcow2 ? "qcow2" : "raw");
        if (!disk.ReadOnly)
        {
            xml.WriteAttributeString("discard", "unmap");
        }

        xml.WriteEndElement();
        Element(xml, "source", ("file", disk.Path));
        Element(xml, "target", ("dev", target), ("bus", disk.CdRom ? "sata" : "virtio"));
        if (disk.Rate is { } rate)
        {
            xml.WriteStartElement("iotune");
            Limit("read_bytes_sec", rate.ReadBytes);
            Limit("write_bytes_sec", rate.WriteBytes);
            Limit("read_iops_sec", rate.ReadOperations);
            Limit("write_iops_sec", rate.WriteOperations);
            xml.WriteEndElement();
        }

        if (disk.ReadOnly)
        {
            xml.WriteElementString("readonly", null);
        }

        xml.WriteElementString("serial", disk.Name.Length <= LongestSerial ? disk.Name : disk.Name[..LongestSerial]);
        xml.WriteEndElement();

        void Limit(string name, long value)
        {
            if (value > 0)
            {
                xml.WriteElementString(name, Number(value));
            }
        }
    }

    private static void WriteInterface(XmlWriter xml, GuestNic nic)
    {
        xml.WriteStartElement("interface");
        xml.WriteAttributeString("type", "ethernet");
        Element(xml, "mac", ("address", nic.HardwareAddress));

        // It is there already, on our bridge and behind our rules.
        Element(xml, "target", ("dev", nic.Tap), ("managed", "no"));
        Element(xml, "model", ("type", "virtio"));
        Element(xml, "mtu", ("size", Number(nic.Mtu)));
        xml.WriteEndElement();
    }

    private static void Element(XmlWriter xml, string name, params (string Name, string Value)[] attributes)
    {
        xml.WriteStartElement(name);
        foreach (var attribute in attributes)
        {
            xml.WriteAttributeString(attribute.Name, attribute.Value);
        }

        xml.WriteEndElement();
    }

    private static string Number(long number) => number.ToString(CultureInfo.InvariantCulture);

    private static DriverException Invalid(string why) => new("GuestInvalid", $"the guest cannot be given to libvirt: {why}", permanent: true);
}
