using System.CommandLine;
using Google.Protobuf.Collections;
using Hypervisor.Ctl.Errors;
using Hypervisor.Ctl.Specs;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Ctl.Commands.Instances;

/// <summary>
/// The flags that describe an instance, for create and update alike. Applied on top of what is there: single values replace,
/// labels, selectors, devices and environment merge by key, lists replace. Where a list holds what is required and what is preferred, each of
/// its two flags replaces its own part.
/// </summary>
internal sealed class InstanceFlags
{
    private static readonly string[] Topologies = ["@node", "@zone", "@region"];

    private readonly bool _ofGroup;
    private readonly List<(Option Option, string Path, Action<Invocation, CreateInstanceRequest> Set)> _flags = [];

    /// <param name="ofGroup">They describe the members of a group: constraints may mean these without a selector.</param>
    public InstanceFlags(bool ofGroup = false)
    {
        _ofGroup = ofGroup;
        Add(CommonOptions.Choice<InstanceType>("--type", "vm, container or microvm"), "spec.type", (r, v) => r.Spec.Type = v);
        Add(Text("--image", "Image, [registry/]name[:tag][@digest]", "IMAGE"), "spec.image", (r, v) => r.Spec.Image = v);
        Add(Text("--pull", "When its registry is asked: ifnotpresent, always or never", "POLICY"), "spec.image_pull_policy",
            (r, v) => r.Spec.ImagePullPolicy = EnumWords.Parse<ImagePullPolicy>("--pull")(v));
        Add(CommonOptions.Amount("--cpus", "CPUs, for example 2, 0.5 or 500m", "COUNT", Quantity.TryMillicores), "spec.resources.cpu_millicores",
            (r, v) => Resources(r).CpuMillicores = v);
        Add(CommonOptions.Amount("--memory", "Memory: a number of MiB, or 512MiB, 2GiB", "SIZE", CommonOptions.PlainIsMiB), "spec.resources.memory_bytes",
            (r, v) => Resources(r).MemoryBytes = v);
        Add(CommonOptions.Amount("--disk-space", "Node-local storage: a number of MiB, or 10GiB", "SIZE", CommonOptions.PlainIsMiB), "spec.resources.disk_bytes",
            (r, v) => Resources(r).DiskBytes = v);
        Add(DeviceFlag.Of("--device", "Device of its node that is counted for it, one or COUNT"), "spec.resources.devices",
            (r, v) => DeviceFlag.Merge(Resources(r).Devices, DeviceFlag.Parse("--device", v)));
        Add(Several("--disk", "Disk of a VM or microVM: name, size (a plain number is GiB, 0 the image's size) and perhaps ephemeral or local (repeatable)", "NAME=SIZE[,KIND]"),
            "spec.disks", (r, v) => Replace(r.Spec.Disks, v.Select(DiskFlag.Parse)));
        AddRate("--disk-read-rate", "Most bytes read from the root disk", "spec.disk_rates.read_bytes_per_second", (r, v) => DiskRates(r).ReadBytesPerSecond = v);
        AddRate("--disk-write-rate", "Most bytes written to the root disk", "spec.disk_rates.write_bytes_per_second", (r, v) => DiskRates(r).WriteBytesPerSecond = v);
        Add(CommonOptions.Amount("--disk-read-iops", "Most reads of the root disk in a second; 0 is no limit", "COUNT", long.TryParse), "spec.disk_rates.read_operations_per_second",
            (r, v) => DiskRates(r).ReadOperationsPerSecond = v);
        Add(CommonOptions.Amount("--disk-write-iops", "Most writes to the root disk in a second; 0 is no limit", "COUNT", long.TryParse), "spec.disk_rates.write_operations_per_second",
            (r, v) => DiskRates(r).WriteOperationsPerSecond = v);
        AddRate("--network-receive-rate", "Most bytes received from the network", "spec.network.rates.receive_bytes_per_second", (r, v) => NetworkRates(r).ReceiveBytesPerSecond = v);
        AddRate("--network-transmit-rate", "Most bytes sent to the network", "spec.network.rates.transmit_bytes_per_second", (r, v) => NetworkRates(r).TransmitBytesPerSecond = v);
        Add(CommonOptions.Choice<Firmware>("--firmware", "bios or uefi, for a VM that boots a disk image"), "spec.machine.firmware", (r, v) => Machine(r).Firmware = v);
        Add(Text("--cpu-model", "CPU of a VM: host-passthrough, host-model or a model's name", "MODEL"), "spec.machine.cpu_model", (r, v) => Machine(r).CpuModel = v);
        Add(CommonOptions.Choice<AcceleratorRequirement>("--accelerator", "What has to run a guest's instructions: any, kvm or tcg"), "spec.machine.accelerator",
            (r, v) => Machine(r).Accelerator = v);
        Add(Switch("--warm", "Start a microVM from the memory of one of its image and size that was stopped before its entry point"), "spec.machine.warm_start",
            (r, v) => Machine(r).WarmStart = v);
        Add(Text("--user-data", "File that cloud-init is given, such as a #cloud-config; - is standard input", "FILE"), "spec.cloud_init.user_data",
            (invocation, r, v) => CloudInit(r).UserData = CloudInitFlags.ReadText(invocation.Environment, v));
        Add(Several("--ssh-key", $"Public key, or a file of them, that opens the account '{CloudInitFlags.User}' (or the first of a file's users) by cloud-init (repeatable)", "KEY|FILE"),
            "spec.cloud_init.users", (invocation, r, v) => CloudInitFlags.AddKeys(invocation.Environment, CloudInit(r), v));
        Add(Several("--command", "Replaces the image's entry point; once per word", "WORD"), "spec.process.command",
            (r, v) => Replace(Process(r).Command, v));
        Add(Several("--env", "Environment variable; NAME alone takes its value from here (repeatable)", "NAME=VALUE"), "spec.process.env", SetEnvironment);
        Add(Text("--workdir", "Working directory", "PATH"), "spec.process.working_dir", (r, v) => Process(r).WorkingDir = v);
        Add(Text("--user", "User, uid, user:group or uid:gid", "USER"), "spec.process.user", (r, v) => Process(r).User = v);
        Add(Text("--hostname", "Host name (default: the instance's name)", "NAME"), "spec.process.hostname", (r, v) => Process(r).Hostname = v);
        Add(Switch("--stdin", "Keep the standard input of its process open, for 'instance console'"), "spec.process.stdin", (r, v) => Process(r).Stdin = v);
        Add(Switch("--tty", "Give its process a terminal"), "spec.process.terminal", (r, v) => Process(r).Terminal = v);
        Add(CommonOptions.Amount("--log-size", "Bytes kept in one log file: a number of MiB, or 64KiB, 1GiB", "SIZE", CommonOptions.PlainIsMiB), "spec.logs.max_size_bytes",
            (r, v) => Logs(r).MaxSizeBytes = v);
        Add(CommonOptions.Amount("--log-files", "Log files kept", "COUNT", long.TryParse), "spec.logs.max_files", (r, v) => Logs(r).MaxFiles = (int)Math.Clamp(v, 0, int.MaxValue));
        Add(Several("--publish", "Port of the node that leads to one of the instance (repeatable)", "[IP:]PORT:PORT[/udp]", "-p"), "spec.network.ports",
            (r, v) => Replace(Network(r).Ports, v.Select(PublishFlag.Parse)));
        Add(Several("--dns", "Name server (repeatable)", "IP"), "spec.network.dns_servers", (r, v) => Replace(Network(r).DnsServers, v));
        Add(Several("--dns-search", "Search domain (repeatable)", "DOMAIN"), "spec.network.dns_search", (r, v) => Replace(Network(r).DnsSearch, v));
        Add(Switch("--read-only", "Make the root file system read-only"), "spec.security.read_only_root", (r, v) => Security(r).ReadOnlyRoot = v);
        Add(Several("--cap-add", "Capability to add (repeatable)", "CAPABILITY"), "spec.security.capabilities_add",
            (r, v) => Replace(Security(r).CapabilitiesAdd, v));
        Add(Several("--cap-drop", "Capability to drop (repeatable)", "CAPABILITY"), "spec.security.capabilities_drop",
            (r, v) => Replace(Security(r).CapabilitiesDrop, v));
        Add(CommonOptions.Choice<SeccompMode>("--seccomp", "default or unconfined"), "spec.security.seccomp", (r, v) => Security(r).Seccomp = v);
        Add(CommonOptions.Amount("--pids-limit", "Most processes and threads", "COUNT", long.TryParse), "spec.security.pids_limit", (r, v) => Security(r).PidsLimit = v);
        Add(Text("--region", "Only on nodes of this region", "NAME"), "spec.constraints.region", (r, v) => Constraints(r).Region = v);
        Add(Text("--zone", "Only on nodes of this zone", "NAME"), "spec.constraints.zone", (r, v) => Constraints(r).Zone = v);
        Add(Several("--node-selector", "Only on nodes with this label (repeatable)", "KEY=VALUE"), "spec.constraints.node_selector",
            (r, v) => Merge(Constraints(r).NodeSelector, "--node-selector", v));
        Add(Text("--preferred-region", "Better on nodes of this region", "NAME"), "spec.constraints.preferred_region", (r, v) => Constraints(r).PreferredRegion = v);
        Add(Text("--preferred-zone", "Better on nodes of this zone", "NAME"), "spec.constraints.preferred_zone", (r, v) => Constraints(r).PreferredZone = v);
        Add(Text("--preferred-node", "Better on this node", "NAME"), "spec.constraints.preferred_node", (r, v) => Constraints(r).PreferredNode = v);
        Add(Several("--preferred-label", "Better on nodes with this label; \"KEY-\" removes it (repeatable)", "KEY=VALUE"), "spec.constraints.preferred_labels",
            (r, v) => Merge(Constraints(r).PreferredLabels, "--preferred-label", v));
        AddAffinity("affinity", "in one place with these instances", "spec.constraints.affinity", constraints => constraints.Affinity);
        AddAffinity("anti-affinity", "apart from these instances", "spec.constraints.anti_affinity", constraints => constraints.AntiAffinity);
        AddSpread("--spread", "Only where these instances stay spread", preferred: false);
        AddSpread("--preferred-spread", "Better where these instances stay spread", preferred: true);
        Add(SeveralEnding("--toleration", "Also on nodes with this taint; * for every taint (repeatable)", "KEY[=VALUE][:EFFECT]", TaintEffects.Endings),
            "spec.constraints.tolerations", (r, v) => Replace(Constraints(r).Tolerations, v.Select(TolerationFlag.Parse)));
        Add(Text("--priority", "Who waits with a higher one is placed first: low, normal, high, critical or -1000 to 1000", "PRIORITY"), "spec.constraints.priority",
            (r, v) => Constraints(r).Priority = PriorityFlag.Parse(v));
        Add(CommonOptions.Choice<PlacementStrategy>("--strategy", "binpack, spread or balanced"), "spec.constraints.strategy", (r, v) => Constraints(r).Strategy = v);
        Add(CommonOptions.Choice<RebalancePolicy>("--rebalance", "allow or never: whether it may be stopped and started elsewhere for the sake of balance (default: members of a group)"),
            "spec.constraints.rebalance", (r, v) => Constraints(r).Rebalance = v);
        Add(Text("--stop-signal", "Signal that stops it (default: the image's, else TERM)", "SIGNAL"), "spec.stop.signal", (r, v) => Stop(r).Signal = v);
        Add(new Option<TimeSpan>("--stop-timeout") { Description = "How long it may take to stop (default 10s)", HelpName = "DURATION", CustomParser = CommonOptions.ParseDuration },
            "spec.stop.grace_period", (r, v) => Stop(r).GracePeriod = Google.Protobuf.WellKnownTypes.Duration.FromTimeSpan(v));
        Add(Text("--restart", "never, always or on-failure, when its process ends; \":5\" after it is the most restarts", "POLICY[:COUNT]"),
            "spec.restart", (r, v) => r.Spec.Restart = RestartFlag.Parse(v));
        Add(Text("--health", "Check while it runs: tcp:PORT, http:PORT[/PATH] or exec:COMMAND", "CHECK"), "spec.health",
            (r, v) => HealthFlag.Apply(r.Spec.Health ??= new(), v));
        Add(Duration("--health-interval", "Between two checks (default 10s)"), "spec.health.interval", (r, v) => Health(r).Interval = v);
        Add(Duration("--health-timeout", "Of one check (default 2s, for exec 5s)"), "spec.health.timeout", (r, v) => Health(r).Timeout = v);
        Add(Duration("--health-start-period", "After a start, in which failures do not count"), "spec.health.start_period",
            (r, v) => Health(r).StartPeriod = v);
        Add(CommonOptions.Choice<UnhealthyAction>("--on-unhealthy", "report or restart"), "spec.health.on_unhealthy", (r, v) => Health(r).OnUnhealthy = v);
        Add(CommonOptions.Choice<DisconnectPolicy>("--on-disconnect", "keep or stop, when its node loses the control plane"), "spec.on_disconnect",
            (r, v) => r.Spec.OnDisconnect = v);
        Add(Several("--label", "Label; \"KEY-\" removes it (repeatable)", "KEY=VALUE"), "metadata.labels", (r, v) => Merge(r.Labels, "--label", v));
        Add(Several("--annotation", "Annotation; \"KEY-\" removes it (repeatable)", "KEY=VALUE"), "metadata.annotations",
            (r, v) => Merge(r.Annotations, "--annotation", v));
    }

    public void AddTo(Command command)
    {
        foreach (var (option, _, _) in _flags)
        {
            command.Add(option);
        }
    }

    /// <summary>Puts every flag that was typed into the request.</summary>
    /// <returns>The paths that were set, as in a field mask: each once, also where several flags set parts of it.</returns>
    public IReadOnlyList<string> Apply(Invocation invocation, CreateInstanceRequest request)
    {
        request.Spec ??= new();
        var paths = new List<string>();
        foreach (var (option, path, set) in _flags)
        {
            if (invocation.Has(option))
            {
                set(invocation, request);
                if (!paths.Contains(path))
                {
                    paths.Add(path);
                }
            }
        }

        if (invocation.Trailing is { Count: > 0 } trailing)
        {
            Replace(Process(request).Args, trailing);
            paths.Add("spec.process.args");
        }

        return paths;
    }

    private static Resources Resources(CreateInstanceRequest r) => r.Spec.Resources ??= new();

    private static ProcessSpec Process(CreateInstanceRequest r) => r.Spec.Process ??= new();

    private static NetworkSpec Network(CreateInstanceRequest r) => r.Spec.Network ??= new();

    private static NetworkRates NetworkRates(CreateInstanceRequest r) => Network(r).Rates ??= new();

    private static DiskRates DiskRates(CreateInstanceRequest r) => r.Spec.DiskRates ??= new();

    private static SecuritySpec Security(CreateInstanceRequest r) => r.Spec.Security ??= new();

    private static PlacementConstraints Constraints(CreateInstanceRequest r) => r.Spec.Constraints ??= new();

    private static MachineSpec Machine(CreateInstanceRequest r) => r.Spec.Machine ??= new();

    private static CloudInitSpec CloudInit(CreateInstanceRequest r) => r.Spec.CloudInit ??= new();

    private static LogSpec Logs(CreateInstanceRequest r) => r.Spec.Logs ??= new();

    private static StopSpec Stop(CreateInstanceRequest r) => r.Spec.Stop ??= new();

    private static HealthCheck Health(CreateInstanceRequest r) => r.Spec.Health ??= new();

    private static Option<Google.Protobuf.WellKnownTypes.Duration> Duration(string name, string description) => new(name)
    {
        Description = description,
        HelpName = "DURATION",
        CustomParser = result => Google.Protobuf.WellKnownTypes.Duration.FromTimeSpan(CommonOptions.ParseDuration(result)),
    };

    private static Option<string> Text(string name, string description, string help) => new(name) { Description = description, HelpName = help };

    private static Option<bool> Switch(string name, string description) => new(name) { Description = description };

    private static Option<string[]> Several(string name, string description, string help, params string[] aliases) =>
        new(name, aliases) { Description = description, HelpName = help, Arity = ArgumentArity.OneOrMore };

    /// <param name="endings">What a shell offers for the end of a value.</param>
    private static Option<string[]> SeveralEnding(string name, string description, string help, IEnumerable<string> endings)
    {
        var option = Several(name, description, help);
        option.CompletionSources.Add([.. endings]);
        return option;
    }

    private static void Replace<T>(IList<T> list, IEnumerable<T> values)
    {
        list.Clear();
        foreach (var value in values)
        {
            list.Add(value);
        }
    }

    /// <summary>Puts values in the place of those of their kind, what is required before what is preferred.</summary>
    private static void ReplaceKind<T>(IList<T> list, Func<T, bool> isPreferred, bool preferred, IEnumerable<T> values)
    {
        var others = list.Where(value => isPreferred(value) != preferred).ToList();
        Replace(list, preferred ? [.. others, .. values] : (List<T>)[.. values, .. others]);
    }

    private static void Merge(MapField<string, string> map, string flag, string[] values)
    {
        foreach (var value in values)
        {
            var equals = value.IndexOf('=', StringComparison.Ordinal);
            if (equals > 0)
            {
                map[value[..equals]] = value[(equals + 1)..];
            }
            else if (equals < 0 && value.Length > 1 && value.EndsWith('-'))
            {
                map.Remove(value[..^1]);
            }
            else
            {
                throw CtlException.Usage($"{flag}: '{value}' is not KEY=VALUE.");
            }
        }
    }

    private static void SetEnvironment(Invocation invocation, CreateInstanceRequest request, string[] values)
    {
        var env = Process(request).Env;
        foreach (var value in values)
        {
            var equals = value.IndexOf('=', StringComparison.Ordinal);
            var name = equals < 0 ? value : value[..equals];
            if (name.Length == 0)
            {
                throw CtlException.Usage($"--env: '{value}' has no name; write NAME=VALUE.");
            }

            var text = equals >= 0
                ? value[(equals + 1)..]
                : invocation.Environment.Variable(name)
                    ?? throw CtlException.Usage($"--env: {name} is not set here.", $"Write --env {name}=VALUE.");
            if (env.FirstOrDefault(e => e.Name == name) is { } known)
            {
                known.Value = text;
            }
            else
            {
                env.Add(new EnvVar { Name = name, Value = text });
            }
        }
    }

    private void AddAffinity(string name, string where, string path, Func<PlacementConstraints, IList<AffinityTerm>> terms)
    {
        AddKind($"--{name}", $"Only {where}", preferred: false);
        AddKind($"--preferred-{name}", $"Better {where}", preferred: true);

        void AddKind(string flag, string description, bool preferred) => Add(
            SeveralEnding(flag, $"{description}; a place is a node, or what is after @ (repeatable)", "SELECTOR[@TOPOLOGY]", Topologies),
            path,
            (r, v) => ReplaceKind(terms(Constraints(r)), term => term.Preferred, preferred, v.Select(text => AffinityFlag.Parse(flag, preferred, text, _ofGroup))));
    }

    private void AddSpread(string flag, string description, bool preferred) => Add(
        SeveralEnding(
            flag,
            $"{description}, over zones or what is after @, at most MAXSKEW (1) more in one than in another (repeatable)",
            "SELECTOR[@TOPOLOGY][:MAXSKEW]",
            Topologies),
        "spec.constraints.spread",
        (r, v) => ReplaceKind(
            Constraints(r).Spread, spread => spread.Preferred, preferred, v.Select(text => SpreadFlag.Parse(flag, preferred, text, _ofGroup))));

    private void AddRate(string flag, string description, string path, Action<CreateInstanceRequest, long> set) => Add(
        CommonOptions.Amount(flag, $"{description} in a second: a number of MiB, or 500KiB/s, 50MiB/s; 0 is no limit", "RATE", CommonOptions.PlainIsMiBPerSecond), path, set);

    private void Add<T>(Option<T> option, string path, Action<CreateInstanceRequest, T> set) =>
        _flags.Add((option, path, (invocation, request) => set(request, invocation.Get(option)!)));

    private void Add<T>(Option<T> option, string path, Action<Invocation, CreateInstanceRequest, T> set) =>
        _flags.Add((option, path, (invocation, request) => set(invocation, request, invocation.Get(option)!)));
}
