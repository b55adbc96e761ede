using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Errors;
using Hypervisor.Server.Api.Instances;
using Hypervisor.Tests.Server.State;
using Xunit;

namespace Hypervisor.Tests.Server.Api.Instances;

/// <summary>Protects: every field of a create is checked, named by its path, and all that is wrong is told at once.</summary>
public sealed class CreateValidationTests
{
    public static TheoryData<string, Action<CreateInstanceRequest>> Wrong => new()
    {
        { "project", request => request.Project = "Team" },
        { "project", request => request.Project = "-" },
        { "name", request => request.Name = "" },
        { "name", request => request.Name = "Web" },
        { "name", request => request.Name = "-web" },
        { "name", request => request.Name = new string('a', 64) },
        { "name", request => request.Name = "a/b" },
        { "name", request => request.Name = "a\u0000b" },
        { "request_id", request => request.RequestId = "with space" },
        { "request_id", request => request.RequestId = new string('x', 65) },
        { "labels[-k]", request => request.Labels["-k"] = "v" },
        { "labels[k]", request => request.Labels["k"] = "v\n" },
        { "labels", request => Repeat(65, index => request.Labels[$"k{index}"] = "v") },
        { "annotations[k]", request => request.Annotations["k"] = "\u001b[2J" },
        { "annotations", request => request.Annotations["k"] = new string('x', 16 * 1024) },
        { "annotations", request => Repeat(65, index => request.Annotations[$"k{index}"] = "v") },
        { "spec", request => request.Spec = null },
        { "spec.type", request => request.Spec.Type = InstanceType.Unspecified },
        { "spec.type", request => request.Spec.Type = (InstanceType)99 },
        { "spec.image", request => request.Spec.Image = "" },
        { "spec.image", request => request.Spec.Image = "a//b" },
        { "spec.image", request => request.Spec.Image = "../x" },
        { "spec.image", request => request.Spec.Image = "name:" },
        { "spec.image", request => request.Spec.Image = "--help" },
        { "spec.resources.cpu_millicores", request => request.Spec.Resources = new() { CpuMillicores = -1 } },
        { "spec.resources.cpu_millicores", request => request.Spec.Resources = new() { CpuMillicores = 1_024_001 } },
        { "spec.resources.memory_bytes", request => request.Spec.Resources = new() { MemoryBytes = 1024 } },
        { "spec.resources.memory_bytes", request => request.Spec.Resources = new() { MemoryBytes = long.MaxValue } },
        { "spec.resources.disk_bytes", request => request.Spec.Resources = new() { DiskBytes = -1 } },
        { "spec.resources.devices[gpu]", request => request.Spec.Resources = new() { Devices = { ["gpu"] = 0 } } },
        { "spec.resources.devices[gpu]", request => request.Spec.Resources = new() { Devices = { ["gpu"] = 1025 } } },
        { "spec.resources.devices[GPU]", request => request.Spec.Resources = new() { Devices = { ["GPU"] = 1 } } },
        { "spec.resources.devices[]", request => request.Spec.Resources = new() { Devices = { [""] = 1 } } },
        { "spec.resources.devices", request => Repeat(33, index => (request.Spec.Resources ??= new()).Devices[$"d{index}"] = 1) },
        { "spec.restart.policy", request => request.Spec.Restart = new() { Policy = (RestartPolicy)9 } },
        { "spec.restart.max_restarts", request => request.Spec.Restart = new() { Policy = RestartPolicy.Always, MaxRestarts = -1 } },
        { "spec.restart.max_restarts", request => request.Spec.Restart = new() { MaxRestarts = 3 } },
        { "spec.health", request => request.Spec.Health = new() },
        { "spec.health.tcp.port", request => request.Spec.Health = new() { Tcp = new() } },
        { "spec.health.tcp.port", request => request.Spec.Health = new() { Tcp = new() { Port = 65_536 } } },
        { "spec.health.http.path", request => request.Spec.Health = new() { Http = new() { Port = 80, Path = "ready" } } },
        { "spec.health.http.path", request => request.Spec.Health = new() { Http = new() { Port = 80, Path = "/a b" } } },
        { "spec.health.http.path", request => request.Spec.Health = new() { Http = new() { Port = 80, Path = "/\r\nHost: x" } } },
        { "spec.health.exec.command", request => request.Spec.Health = new() { Exec = new() } },
        { "spec.health.exec.command[0]", request => request.Spec.Health = new() { Exec = new() { Command = { "", "x" } } } },
        { "spec.health.exec.command[1]", request => request.Spec.Health = new() { Exec = new() { Command = { "sh", "a\0b" } } } },
        { "spec.health.exec.command", request => request.Spec.Health = new() { Exec = new() { Command = { Enumerable.Repeat("x", 1025) } } } },
        { "spec.health.interval", request => request.Spec.Health = Health(check => check.Interval = Seconds(0)) },
        { "spec.health.interval", request => request.Spec.Health = Health(check => check.Interval = Seconds(long.MaxValue)) },
        { "spec.health.timeout", request => request.Spec.Health = Health(check => check.Timeout = Seconds(11)) },
        { "spec.health.start_period", request => request.Spec.Health = Health(check => check.StartPeriod = Seconds(-1)) },
        { "spec.health.failure_threshold", request => request.Spec.Health = Health(check => check.FailureThreshold = 101) },
        { "spec.health.success_threshold", request => request.Spec.Health = Health(check => check.SuccessThreshold = -1) },
        { "spec.health.on_unhealthy", request => request.Spec.Health = Health(check => check.OnUnhealthy = (UnhealthyAction)7) },
        { "spec.disks", request => request.Spec = Vm(new Disk { Name = "data", SizeBytes = 1 }) },
        { "spec.disks[0].name", request => request.Spec = Vm(new Disk { Name = "" }, new Disk { Name = "root" }) },
        { "spec.disks[1].name", request => request.Spec = Vm(new Disk { Name = "root" }, new Disk { Name = "root" }) },
        { "spec.disks[0].kind", request => request.Spec = Vm(new Disk { Name = "root", Kind = (DiskKind)9 }) },
        { "spec.disks[0].kind", request => request.Spec = Vm(new Disk { Name = "root", Kind = DiskKind.Shared }) },
        { "spec.disks[0].size_bytes", request => request.Spec = Vm(new Disk { Name = "root", SizeBytes = -1 }) },
        { "spec.disks[1].size_bytes", request => request.Spec = Vm(new Disk { Name = "root" }, new Disk { Name = "data" }) },
        { "spec.disks[0].kind", request => request.Spec.Disks.Add(new Disk { Name = "root", Kind = DiskKind.Local }) },
        { "spec.disks[0].size_bytes", request => request.Spec.Disks.Add(new Disk { Name = "root", SizeBytes = 5 }) },
        { "spec.process.command[0]", request => request.Spec.Process = new() { Command = { "" } } },
        { "spec.process.command[0]", request => request.Spec.Process = new() { Command = { "a\0b" } } },
        { "spec.process.args[1]", request => request.Spec.Process = new() { Args = { "ok", "\u0007" } } },
        { "spec.process.args", request => Repeat(1025, _ => (request.Spec.Process ??= new()).Args.Add("x")) },
        { "spec.process", request => Repeat(5, _ => (request.Spec.Process ??= new()).Args.Add(new string('x', 32 * 1024))) },
        { "spec.process.env[0].name", request => request.Spec.Process = new() { Env = { new EnvVar { Name = "A=B" } } } },
        { "spec.process.env[0].name", request => request.Spec.Process = new() { Env = { new EnvVar { Value = "v" } } } },
        { "spec.process.env[0].value", request => request.Spec.Process = new() { Env = { new EnvVar { Name = "A", Value = "a\0" } } } },
        { "spec.process.working_dir", request => request.Spec.Process = new() { WorkingDir = "relative" } },
        { "spec.process.working_dir", request => request.Spec.Process = new() { WorkingDir = "/a\nb" } },
        { "spec.process.user", request => request.Spec.Process = new() { User = "a:b:c" } },
        { "spec.process.user", request => request.Spec.Process = new() { User = "4294967295" } },
        { "spec.process.hostname", request => request.Spec.Process = new() { Hostname = "a_b" } },
        { "spec.network.ports[0].host_port", request => request.Spec.Network = Ports(new PublishedPort { InstancePort = 80 }) },
        { "spec.network.ports[0].instance_port", request => request.Spec.Network = Ports(new PublishedPort { HostPort = 80, InstancePort = 65536 }) },
        { "spec.network.ports[0].protocol", request => request.Spec.Network = Ports(new PublishedPort { HostPort = 80, InstancePort = 80, Protocol = (IpProtocol)7 }) },
        { "spec.network.ports[0].host_ip", request => request.Spec.Network = Ports(new PublishedPort { HostPort = 80, InstancePort = 80, HostIp = "1" }) },
        { "spec.network.ports[0].host_ip", request => request.Spec.Network = Ports(new PublishedPort { HostPort = 80, InstancePort = 80, HostIp = "::1" }) },
        {
            "spec.network.ports[1].host_port", request => request.Spec.Network = Ports(
                new PublishedPort { HostPort = 80, InstancePort = 80 }, new PublishedPort { HostPort = 80, InstancePort = 81, HostIp = "10.0.0.1" })
        },
        { "spec.network.rates.receive_bytes_per_second", request => request.Spec.Network = new() { Rates = new() { ReceiveBytesPerSecond = 65535 } } },
        { "spec.network.rates.transmit_bytes_per_second", request => request.Spec.Network = new() { Rates = new() { TransmitBytesPerSecond = (10L << 30) + 1 } } },
        { "spec.disk_rates.read_bytes_per_second", request => request.Spec.DiskRates = new() { ReadBytesPerSecond = 1 } },
        { "spec.disk_rates.write_bytes_per_second", request => request.Spec.DiskRates = new() { WriteBytesPerSecond = -1 } },
        { "spec.disk_rates.read_operations_per_second", request => request.Spec.DiskRates = new() { ReadOperationsPerSecond = 9 } },
        { "spec.disk_rates.write_operations_per_second", request => request.Spec.DiskRates = new() { WriteOperationsPerSecond = 10_000_001 } },
        { "spec.network.dns_servers", request => request.Spec.Network = new() { DnsServers = { "1.1.1.1", "1.1.1.2", "1.1.1.3", "1.1.1.4" } } },
        { "spec.network.dns_servers[0]", request => request.Spec.Network = new() { DnsServers = { "dns.example" } } },
        { "spec.network.dns_search[0]", request => request.Spec.Network = new() { DnsSearch = { "a b" } } },
        { "spec.security.capabilities_add[0]", request => request.Spec.Security = new() { CapabilitiesAdd = { "FLY" } } },
        { "spec.security.capabilities_add[0]", request => request.Spec.Security = new() { CapabilitiesAdd = { "CAP_SYS_ADMIN" } } },
        { "spec.security.capabilities_add[0]", request => request.Spec.Security = new() { CapabilitiesAdd = { "ALL" } } },
        { "spec.security.capabilities_add[0]", request => request.Spec.Security = new() { CapabilitiesAdd = { "NET_RAW" }, CapabilitiesDrop = { "CAP_NET_RAW" } } },
        { "spec.security.seccomp", request => request.Spec.Security = new() { Seccomp = (SeccompMode)5 } },
        { "spec.security.pids_limit", request => request.Spec.Security = new() { PidsLimit = -1 } },
        { "spec.constraints.zone", request => request.Spec.Constraints = new() { Zone = "a b" } },
        { "spec.constraints.node_selector[k]", request => request.Spec.Constraints = new() { NodeSelector = { ["k"] = "?" } } },
        { "spec.constraints.strategy", request => request.Spec.Constraints = new() { Strategy = (PlacementStrategy)9 } },
        { "spec.desired_state", request => request.Spec.DesiredState = (DesiredState)9 },
        { "spec.desired_state", request => request.Spec.DesiredState = DesiredState.Paused },
        { "spec.desired_state", request => request.Spec.DesiredState = DesiredState.Suspended },
        { "spec.machine", request => request.Spec.Machine = new() },
        { "spec.cloud_init", request => request.Spec.CloudInit = new() },
        { "spec.snapshots", request => request.Spec.Snapshots.Add(new SnapshotSpec { Name = "a" }) },
        { "spec.restore", request => request.Spec.Restore = new() },
        { "spec.source", request => request.Spec.Source = new() },
        { "spec.cloud_init", request => { request.Spec.Type = InstanceType.Microvm; request.Spec.CloudInit = new(); } },
        { "spec.machine.firmware", request => request.Spec = Machine(InstanceType.Vm, new() { Firmware = (Firmware)9 }) },
        { "spec.machine.firmware", request => request.Spec = Machine(InstanceType.Microvm, new() { Firmware = Firmware.Uefi }) },
        { "spec.machine.accelerator", request => request.Spec = Machine(InstanceType.Vm, new() { Accelerator = (AcceleratorRequirement)9 }) },
        { "spec.machine.cpu_model", request => request.Spec = Machine(InstanceType.Vm, new() { CpuModel = "max,+vmx" }) },
        { "spec.machine.cpu_model", request => request.Spec = Machine(InstanceType.Microvm, new() { CpuModel = "max" }) },
        { "spec.machine.topology.cores", request => request.Spec = Machine(InstanceType.Vm, new() { Topology = new() { Sockets = 1, Threads = 1 } }) },
        { "spec.machine.warm_start", request => request.Spec = Machine(InstanceType.Vm, new() { WarmStart = true }) },
        { "spec.stop.signal", request => request.Spec.Stop = new() { Signal = "SIGNOTHING" } },
        { "spec.stop.signal", request => request.Spec.Stop = new() { Signal = "65" } },
        { "spec.stop.grace_period", request => request.Spec.Stop = new() { GracePeriod = new() { Seconds = -1 } } },
        { "spec.stop.grace_period", request => request.Spec.Stop = new() { GracePeriod = new() { Seconds = 3600, Nanos = 1 } } },
        { "spec.on_disconnect", request => request.Spec.OnDisconnect = (DisconnectPolicy)9 },
        { "spec.restart_generation", request => request.Spec.RestartGeneration = 1 },
        { "spec.image_digest", request => request.Spec.ImageDigest = "sha256:00" },
    };

    [Theory]
    [MemberData(nameof(Wrong), DisableDiscoveryEnumeration = true)]
    public void What_is_wrong_is_named_by_its_path(string field, Action<CreateInstanceRequest> spoil)
    {
        var request = Replica.NewRequest("web");
        spoil(request);
        var violations = new FieldViolations();

        CreateValidation.Check(request, violations);

        Assert.Contains(field, violations.All.Select(violation => violation.Field));
        Assert.All(violations.All, violation => Assert.DoesNotContain(violation.Description, char.IsControl));
    }

    [Fact]
    public void What_people_really_write_is_accepted()
    {
        var request = Replica.NewRequest("web-1", "0b7e3a52-6d0f-4c9e-9f3e-1f0c2d3e4f5a");
        request.Project = "team-a";
        request.Labels["example.com/app"] = "web";
        request.Annotations["note"] = "Zwei Zeilen\nüber 📦";
        request.Spec.Image = "busybox:1.35";
        request.Spec.Process = new()
        {
            Command = { "/bin/sh", "-c" },
            Args = { "while true; do\n\tsleep 1\ndone", "--flag=a,b c" },
            Env = { new EnvVar { Name = "PATH", Value = "/bin" }, new EnvVar { Name = "EMPTY" } },
            WorkingDir = "/srv/über",
            User = "nobody:65534",
            Hostname = "web.example.com",
        };
        request.Spec.Network = new()
        {
            Ports = { new PublishedPort { HostPort = 53, InstancePort = 53 }, new PublishedPort { HostPort = 53, InstancePort = 53, Protocol = IpProtocol.Udp } },
            DnsServers = { "1.1.1.1", "2606:4700::1111" },
            DnsSearch = { "example.com" },
        };
        request.Spec.Security = new() { CapabilitiesAdd = { "NET_RAW" }, CapabilitiesDrop = { "ALL" }, Seccomp = SeccompMode.Unconfined };
        request.Spec.Stop = new() { Signal = "SIGQUIT", GracePeriod = new() { Seconds = 3600 } };
        var violations = new FieldViolations();

        Assert.Equal("team-a", CreateValidation.Check(request, violations));
        Assert.Empty(violations.All);
    }

    [Fact]
    public void Everything_wrong_is_told_at_once_and_bounded()
    {
        var request = new CreateInstanceRequest { Name = "X", Spec = new() { Image = "/", DesiredState = (DesiredState)9 } };
        var violations = new FieldViolations();
        CreateValidation.Check(request, violations);
        Assert.Equal(["name", "spec.type", "spec.image", "spec.desired_state"], violations.All.Select(violation => violation.Field));

        Repeat(200, index => request.Labels[$"-{index}"] = "v");
        CreateValidation.Check(request, violations);
        var error = Assert.Throws<Grpc.Core.RpcException>(violations.ThrowIfAny);
        Assert.Equal(Grpc.Core.StatusCode.InvalidArgument, error.StatusCode);
        Assert.True(error.Status.Detail.Length < 2000);
    }

    private static HealthCheck Health(Action<HealthCheck> change)
    {
        var check = new HealthCheck { Tcp = new() { Port = 80 } };
        change(check);
        return check;
    }

    private static Google.Protobuf.WellKnownTypes.Duration Seconds(long seconds) => new() { Seconds = seconds };

    private static InstanceSpec Vm(params Disk[] disks) => new() { Type = InstanceType.Vm, Image = "debian", Disks = { disks } };

    private static InstanceSpec Machine(InstanceType type, MachineSpec machine) => new() { Type = type, Image = "debian", Machine = machine };

    private static NetworkSpec Ports(params PublishedPort[] ports) => new() { Ports = { ports } };

    private static void Repeat(int count, Action<int> action)
    {
        for (var index = 0; index < count; index++)
        {
            action(index);
        }
    }
}
