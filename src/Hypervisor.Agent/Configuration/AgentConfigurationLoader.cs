using System.Globalization;
using System.Net;
using Hypervisor.Agent.Guests;
using Hypervisor.Agent.Logs;
using Hypervisor.Agent.Networking;
using Hypervisor.Hosting.Configuration;
using Hypervisor.Hosting.Yaml;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Configuration;

/// <summary>Reads and judges the agent's configuration.</summary>
internal static class AgentConfigurationLoader
{
    /// <summary>Begins every variable: HYPERVISOR_AGENT_SERVER_ADDR is <c>server_addr</c>, HYPERVISOR_AGENT_LOG_LEVEL is <c>log.level</c>.</summary>
    public const string EnvironmentPrefix = "HYPERVISOR_AGENT";

    /// <summary>sun_path is 108 bytes with its terminator (unix(7)).</summary>
    private const int MaxSocketPathBytes = 107;

    /// <summary>The longest name below run_dir that becomes a socket; what is left of a socket path is for run_dir itself.</summary>
    private const int MaxRunDirectoryBytes = MaxSocketPathBytes - 48;

    /// <summary>From a file, or from defaults alone when there is none, and from the environment, which wins.</summary>
    /// <param name="machineName">The machine's own name, for <c>hostname</c> when it is not given.</param>
    /// <exception cref="ConfigurationException">Everything that is wrong.</exception>
    public static AgentConfiguration Load(string? path, IReadOnlyDictionary<string, string> environment, string machineName)
    {
        try
        {
            return Parse(path is null ? YamlDocument.Load("", "(no configuration file)") : YamlDocument.LoadFile(path), environment, machineName);
        }
        catch (InvalidYamlException exception)
        {
            throw new ConfigurationException(exception.Errors);
        }
    }

    /// <inheritdoc cref="Load"/>
    public static AgentConfiguration Parse(YamlDocument document, IReadOnlyDictionary<string, string> environment, string machineName)
    {
        var reader = new ConfigurationReader(document, EnvironmentPrefix, environment);
        var defaults = new AgentConfiguration();
        var hostname = Hostname(reader, machineName);
        var listen = ListenAddress(reader, defaults.ListenAddress);
        var configuration = new AgentConfiguration
        {
            Hostname = hostname,
            ListenAddress = listen,
            AdvertiseAddress = reader.Value<HostPort>("advertise_addr", listen.IsAny ? new HostPort(hostname, listen.Port) : listen, Values.PeerAddress),
            Role = reader.Value<string>("role", defaults.Role, Values.Label),
            Region = reader.Value<string>("region", defaults.Region, LabelOrEmpty),
            Zone = reader.Value<string>("zone", defaults.Zone, LabelOrEmpty),
            Labels = reader.Map("labels", maxItems: 64, KubernetesLabel),
            Devices = Devices(reader),
            ServerAddress = reader.Value<HostPort>("server_addr", defaults.ServerAddress, Values.PeerAddress),
            SupportedInstanceTypes = reader.List("supported_instance_types", defaults.SupportedInstanceTypes, maxItems: 3,
                Values.OneOf(("vm", InstanceType.Vm), ("container", InstanceType.Container), ("microvm", InstanceType.Microvm))),
            DataDirectory = reader.Value("data_dir", defaults.DataDirectory, Values.AbsolutePath()),
            RunDirectory = reader.Value("run_dir", defaults.RunDirectory, Values.AbsolutePath(MaxRunDirectoryBytes)),
            Insecure = reader.Value<bool>("insecure", defaults.Insecure, Values.Bool),
            LibvirtUri = reader.Value<string>("libvirt.uri", defaults.LibvirtUri, LibvirtUri),
            GuestDirectory = reader.Value("guest.directory", defaults.GuestDirectory, Values.AbsolutePath()),
            Accelerator = reader.Value("accelerator", defaults.Accelerator, Values.OneOf(
                ("auto", AcceleratorChoice.Auto), ("kvm", AcceleratorChoice.Kvm), ("tcg", AcceleratorChoice.Tcg), ("none", AcceleratorChoice.None))),
            QemuProgram = reader.Value<string>("qemu.binary", defaults.QemuProgram, Program),
            Microvm = new MicrovmConfiguration
            {
                Driver = reader.Value("microvm.driver", defaults.Microvm.Driver, Values.OneOf(
                    ("auto", MicrovmDriver.Auto), ("qemu", MicrovmDriver.Qemu), ("firecracker", MicrovmDriver.Firecracker))),
                Firecracker = reader.Value<string>("firecracker.binary", defaults.Microvm.Firecracker, Program),
                Jailer = reader.Value<string>("firecracker.jailer", defaults.Microvm.Jailer, Program),
            },
            Containerd = Containerd(reader, defaults.Containerd),
            Network = new AgentNetworkConfiguration
            {
                Enabled = reader.Value<bool>("network.enabled", defaults.Network.Enabled, Values.Bool),
                Bridge = reader.Value<string>("network.bridge", defaults.Network.Bridge, InterfaceName),
                Mtu = reader.Value("network.mtu", defaults.Network.Mtu, Mtu),
                DnsServers = reader.List<IPAddress>("network.dns", defaults.Network.DnsServers, maxItems: 3, Values.IpAddress),
            },
            Logs = new LogLimits(
                reader.Value("logs.max_size", defaults.Logs.SizeBytes, Values.Size(LogLimits.SmallestSize, LogLimits.LargestSize)),
                reader.Value("logs.max_files", defaults.Logs.Files, Values.WholeNumber(LogLimits.FewestFiles, LogLimits.MostFiles))),
            ImageCacheBytes = reader.Value("images.cache_bytes", defaults.ImageCacheBytes, Values.Size(0, 1L << 50)),
            LogLevel = reader.Value("log.level", defaults.LogLevel, LogLevels),
            LogFormat = reader.Value("log.format", defaults.LogFormat, Values.OneOf(("text", LogStyle.Text), ("json", LogStyle.Json))),
            MetricsAddress = reader.Value<HostPort?>("metrics_addr", null, MetricsAddress),
            OtlpEndpoint = reader.Value<Uri?>("telemetry.otlp_endpoint", null, Values.OtlpEndpoint),
        };

        if (configuration.SupportedInstanceTypes.Count == 0)
        {
            reader.Fail("is empty", "name at least one of vm, container, microvm", "supported_instance_types");
        }

        if (!configuration.Insecure && !configuration.ListenAddress.IsLoopback)
        {
            reader.Fail(
                $"can be reached from other machines while nothing is encrypted ({configuration.ListenAddress})",
                $"use 127.0.0.1:{configuration.ListenAddress.Port.ToString(CultureInfo.InvariantCulture)}, or set insecure: true in a network you trust",
                "listen_addr");
        }

        if (configuration.MetricsAddress is { } metrics)
        {
            CheckMetrics(reader, configuration, metrics);
        }

        reader.ThrowIfInvalid();
        return configuration;
    }

    private static void CheckMetrics(ConfigurationReader reader, AgentConfiguration configuration, HostPort metrics)
    {
        if (!configuration.Insecure && !metrics.IsLoopback)
        {
            reader.Fail(
                $"can be read from other machines while nobody is authenticated ({metrics})",
                $"use 127.0.0.1:{metrics.Port.ToString(CultureInfo.InvariantCulture)}, or set insecure: true in a network you trust",
                "metrics_addr");
        }

        if (metrics.Port == configuration.ListenAddress.Port)
        {
            var port = metrics.Port.ToString(CultureInfo.InvariantCulture);
            reader.Fail($"has the port that the server calls ({port})", "give it a port of its own", "metrics_addr");
        }
    }

    private static Complaint? MetricsAddress(string text, out HostPort? value)
    {
        var complaint = Values.ListenAddress(text, out var address);
        value = complaint is null ? address : null;
        return complaint ?? (address.Port == 0 ? new("has no port", "write 127.0.0.1:9952, for example") : null);
    }

    private static ValueParser<LogLevel> LogLevels { get; } = Values.OneOf(
        ("trace", LogLevel.Trace), ("debug", LogLevel.Debug), ("information", LogLevel.Information), ("info", LogLevel.Information),
        ("warning", LogLevel.Warning), ("warn", LogLevel.Warning), ("error", LogLevel.Error));

    private static string Hostname(ConfigurationReader reader, string machineName)
    {
        var own = machineName.Split('.')[0].ToLowerInvariant();
        var hostname = reader.Value<string>("hostname", own, Values.Label);
        if (!reader.IsSet("hostname") && Values.Label(own, out _) is not null)
        {
            reader.Fail($"is not given, and this machine's own name is no RFC 1123 label ({DisplayText.Of(machineName)})", "set hostname: node-1", "hostname");
        }

        return hostname;
    }

    private static HostPort ListenAddress(ConfigurationReader reader, HostPort fallback)
    {
        var port = reader.Value("port", fallback.Port, Values.WholeNumber(0, 65535));
        var listen = reader.Value<HostPort>("listen_addr", fallback with { Port = port }, Values.ListenAddress);
        if (reader.IsSet("port") && listen.Port != port)
        {
            reader.Fail(
                $"is {port.ToString(CultureInfo.InvariantCulture)}, and listen_addr says {listen.Port.ToString(CultureInfo.InvariantCulture)}",
                "keep one of the two", "port");
        }

        return listen;
    }

    private static Dictionary<string, int> Devices(ConfigurationReader reader)
    {
        var count = Values.WholeNumber(1, Limits.DeviceCount);
        var devices = new Dictionary<string, int>(StringComparer.Ordinal);
        foreach (var (name, text) in reader.Map("devices", Limits.Devices, (name, text) => DeviceName(name) ?? count(text, out _)))
        {
            count(text, out var number);
            devices.Add(name, number);
        }

        return devices;
    }

    private static Complaint? DeviceName(string name) => LabelSyntax.IsDnsLabel(name)
        ? null
        : new("has a name that is no RFC 1123 label", "1-63 characters of a-z, 0-9 and -, beginning and ending with a letter or digit");

    private static ContainerdConfiguration Containerd(ConfigurationReader reader, ContainerdConfiguration defaults) => new()
    {
        SocketPath = reader.Value("containerd.address", defaults.SocketPath, Values.AbsolutePath(MaxSocketPathBytes)),
        Namespace = reader.Value<string>("containerd.namespace", defaults.Namespace, Values.Label),
        Snapshotter = reader.Value<string>("containerd.snapshotter", defaults.Snapshotter, Values.Label),
        ShimGroup = reader.Value<bool>("containerd.shim_group", defaults.ShimGroup, Values.Bool),
        SeccompProfile = reader.Value("containerd.seccomp_profile", defaults.SeccompProfile, Values.AbsolutePath()),
        StateDirectory = reader.Value("containerd.state", defaults.StateDirectory, Values.AbsolutePath()),
        ForeignArchitectures = reader.Value<bool>("containerd.foreign_architectures", defaults.ForeignArchitectures, Values.Bool),
        CgroupParent = reader.Value("containerd.cgroup_parent", defaults.CgroupParent, Values.AbsolutePath(255)),
    };

    /// <summary>A path, or a name to be looked for.</summary>
    private static Complaint? Program(string text, out string value)
    {
        value = text;
        return text.StartsWith('/') ? Values.AbsolutePath()(text, out value)
            : text.Length is >= 1 and <= 64 && text.All(c => char.IsAsciiLetterOrDigit(c) || c is '-' or '_' or '.') ? null
            : new("is neither an absolute path nor the name of a program", "write /usr/bin/qemu-system-x86_64, for example");
    }

    private static Complaint? LabelOrEmpty(string text, out string value)
    {
        value = text;
        return text.Length == 0 ? null : Values.Label(text, out value);
    }

    private static Complaint? LibvirtUri(string text, out string value)
    {
        value = text;
        return Values.Text(256)(text, out _) ?? (Uri.TryCreate(text, UriKind.Absolute, out var uri) && uri.UserInfo.Length == 0
            ? null
            : new Complaint("is not a libvirt URI", "write it as qemu:///system, without a password"));
    }

    /// <summary>dev_valid_name() in net/core/dev.c; no '%', which the kernel takes for a pattern, and none of iproute2's or nftables' own characters.</summary>
    private static Complaint? InterfaceName(string text, out string value)
    {
        value = text;
        return text.Length is >= 1 and <= 15 && char.IsAsciiLetter(text[0]) && text.All(c => char.IsAsciiLetterOrDigit(c) || c is '-' or '_' or '.')
            ? null
            : new("is not an interface name", "1-15 characters of letters, digits, -, _ and ., beginning with a letter");
    }

    private static Complaint? Mtu(string text, out int value)
    {
        if (Values.WholeNumber(0, NetworkLimits.LargestMtu)(text, out value) is { } complaint)
        {
            return complaint;
        }

        return value is 0 or >= NetworkLimits.SmallestMtu
            ? null
            : new($"is less than every host has to take ({text})", string.Create(CultureInfo.InvariantCulture, $"{NetworkLimits.SmallestMtu}-{NetworkLimits.LargestMtu}, or 0 for that of the default route"));
    }

    private static Complaint? KubernetesLabel(string key, string value)
    {
        if (LabelSyntax.KeyProblem(key) is not null)
        {
            return new("has a name that is no label key", "[prefix/]name with up to 63 letters, digits, -, _ and ., beginning and ending with a letter or digit");
        }

        return LabelSyntax.ValueProblem(value) is null
            ? null
            : new("has a value that is no label value", "up to 63 letters, digits, -, _ and ., beginning and ending with a letter or digit");
    }
}
