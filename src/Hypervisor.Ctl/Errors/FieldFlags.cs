namespace Hypervisor.Ctl.Errors;

/// <summary>Which flag sets a field of a request, so that a refusal names what the user typed.</summary>
internal static class FieldFlags
{
    private static readonly (string Field, string Flag)[] Flags =
    [
        ("name", "--name"),
        ("project", "--project"),
        ("labels", "--label"),
        ("annotations", "--annotation"),
        ("metadata.labels", "--label"),
        ("metadata.annotations", "--annotation"),
        ("request_id", "--request-id"),
        ("format", "--format"),
        ("checksum", "--checksum"),
        ("architecture", "--arch"),
        ("operating_system", "--os"),
        ("default_user", "--user"),
        ("virtual_size_bytes", "--virtual-size"),
        ("files", "--kernel, --initramfs, --rootfs"),
        ("image.name", "--name"),
        ("image.format", "--format"),
        ("image.checksum", "--checksum"),
        ("image.architecture", "--arch"),
        ("image.operating_system", "--os"),
        ("image.default_user", "--user"),
        ("image.virtual_size_bytes", "--virtual-size"),
        ("label_selector", "--selector"),
        ("spec.type", "--type"),
        ("spec.image", "--image"),
        ("spec.resources.cpu_millicores", "--cpus"),
        ("spec.resources.memory_bytes", "--memory"),
        ("spec.resources.disk_bytes", "--disk-space"),
        ("spec.resources.devices", "--device"),
        ("spec.process.command", "--command"),
        ("spec.process.args", "-- ARGS"),
        ("spec.process.env", "--env"),
        ("spec.process.working_dir", "--workdir"),
        ("spec.process.user", "--user"),
        ("spec.process.hostname", "--hostname"),
        ("spec.process.stdin", "--stdin"),
        ("spec.process.terminal", "--tty"),
        ("spec.logs.max_size_bytes", "--log-size"),
        ("spec.logs.max_files", "--log-files"),
        ("exec.command", "-- COMMAND"),
        ("exec.working_dir", "--workdir"),
        ("exec.user", "--user"),
        ("exec.env", "--env"),
        ("spec.network.ports", "--publish"),
        ("spec.network.dns_servers", "--dns"),
        ("spec.network.dns_search", "--dns-search"),
        ("spec.network.rates.receive_bytes_per_second", "--network-receive-rate"),
        ("spec.network.rates.transmit_bytes_per_second", "--network-transmit-rate"),
        ("spec.disk_rates.read_bytes_per_second", "--disk-read-rate"),
        ("spec.disk_rates.write_bytes_per_second", "--disk-write-rate"),
        ("spec.disk_rates.read_operations_per_second", "--disk-read-iops"),
        ("spec.disk_rates.write_operations_per_second", "--disk-write-iops"),
        ("spec.security.read_only_root", "--read-only"),
        ("spec.security.capabilities_add", "--cap-add"),
        ("spec.security.capabilities_drop", "--cap-drop"),
        ("spec.security.seccomp", "--seccomp"),
        ("spec.security.pids_limit", "--pids-limit"),
        ("spec.constraints.region", "--region"),
        ("spec.constraints.zone", "--zone"),
        ("spec.constraints.node_selector", "--node-selector"),
        ("spec.constraints.strategy", "--strategy"),
        ("spec.constraints.preferred_region", "--preferred-region"),
        ("spec.constraints.preferred_zone", "--preferred-zone"),
        ("spec.constraints.preferred_node", "--preferred-node"),
        ("spec.constraints.preferred_labels", "--preferred-label"),
        ("spec.constraints.affinity", "--affinity, --preferred-affinity"),
        ("spec.constraints.anti_affinity", "--anti-affinity, --preferred-anti-affinity"),
        ("spec.constraints.spread", "--spread, --preferred-spread"),
        ("spec.constraints.tolerations", "--toleration"),
        ("spec.constraints.priority", "--priority"),
        ("spec.constraints.rebalance", "--rebalance"),
        ("spec.disks", "--disk"),
        ("spec.machine.firmware", "--firmware"),
        ("spec.machine.cpu_model", "--cpu-model"),
        ("spec.machine.accelerator", "--accelerator"),
        ("spec.machine.warm_start", "--warm"),
        ("spec.cloud_init.user_data", "--user-data"),
        ("spec.cloud_init.users", "--ssh-key"),
        ("spec.restart", "--restart"),
        ("spec.stop.signal", "--stop-signal"),
        ("spec.stop.grace_period", "--stop-timeout"),
        ("spec.on_disconnect", "--on-disconnect"),
        ("count", "--count"),
        ("revision", "--revision"),
        ("spec.count", "--count"),
        ("spec.update.max_surge", "--max-surge"),
        ("spec.update.max_unavailable", "--max-unavailable"),
        ("spec.update.min_ready", "--min-ready"),
        ("spec.update.progress_deadline", "--progress-deadline"),
        ("spec.disruption.max_unavailable", "--max-disrupted"),
        ("node.spec.overcommit.cpu", "--overcommit-cpu"),
        ("node.spec.overcommit.memory", "--overcommit-memory"),
        ("node.spec.reserved.cpu_millicores", "--reserve-cpus"),
        ("node.spec.reserved.memory_bytes", "--reserve-memory"),
        ("node.spec.reserved.disk_bytes", "--reserve-disk"),
        ("node.spec.reserved.devices", "--reserve-device"),
        ("lose_nodes", "--lose"),
        ("lose_zones", "--lose"),
        ("lose_regions", "--lose"),
        ("add", "--add, --like"),
        ("place", "--place, --count"),
        ("max_moves", "--max-moves"),
        ("min_gain", "--min-gain"),
        ("objective", "--objective"),
    ];

    /// <summary>The flag for a path such as <c>spec.process.env[2].name</c> (also below an "instance." or "group." of an update, and in the template of a group); null when none sets it.</summary>
    public static string? FlagOf(string path)
    {
        var field = Without(Without(Without(path, "instance."), "group."), "spec.template.");
        foreach (var (candidate, flag) in Flags)
        {
            if (field.StartsWith(candidate, StringComparison.Ordinal)
                && (field.Length == candidate.Length || field[candidate.Length] is '.' or '['))
            {
                return flag;
            }
        }

        return null;

        static string Without(string path, string beginning) => path.StartsWith(beginning, StringComparison.Ordinal) ? path[beginning.Length..] : path;
    }
}
