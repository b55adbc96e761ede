using Xunit;

namespace Hypervisor.Tests.FirecrackerStandIn;

/// <summary>One operation of Firecracker's published API.</summary>
/// <param name="Phase">"before" or "after" the start, or "any".</param>
/// <param name="Full">A body with every field there is, in which each is valid; FOLDER is the test's. Null: the operation takes none.</param>
/// <param name="Required">Fields that may not be missing, nested ones by path; the rest may be.</param>
/// <param name="Either">Fields of which the contract's text, not its schema, wants one of several: their absence is looked at elsewhere.</param>
internal sealed record ContractRow(string Phase, string Method, string Path, string? Full = null, string Required = "", string Either = "", bool BodyOptional = false)
{
    public string Name => $"{Method} {Path}";
}

/// <summary>
/// Firecracker's API as of 1.17 by its published OpenAPI document, row by row; written apart from what the stand-in checks by, so that
/// a mistake in one is found by the other.
/// </summary>
internal static class ContractTable
{
    private const string Rate =
        """{"bandwidth":{"size":1,"refill_time":1,"one_time_burst":1},"ops":{"size":1,"refill_time":1,"one_time_burst":1}}""";

    public static IReadOnlyList<ContractRow> Rows { get; } =
    [
        new("any", "GET", "/"),
        new("any", "GET", "/version"),
        new("any", "GET", "/vm/config"),
        new("any", "GET", "/machine-config"),
        new("any", "GET", "/balloon"),
        new("any", "GET", "/mmds"),
        new("after", "GET", "/balloon/statistics"),
        new("after", "GET", "/balloon/hinting/status"),
        new("after", "GET", "/hotplug/memory"),
        new("any", "PUT", "/actions", """{"action_type":"FlushMetrics"}""", "action_type"),
        new("before", "PUT", "/balloon",
            """{"amount_mib":1,"deflate_on_oom":true,"stats_polling_interval_s":1,"free_page_hinting":true,"free_page_reporting":true}""",
            "amount_mib deflate_on_oom"),
        new("any", "PATCH", "/balloon", """{"amount_mib":2}""", "amount_mib"),
        new("any", "PATCH", "/balloon/statistics", """{"stats_polling_interval_s":3}""", "stats_polling_interval_s"),
        new("after", "PATCH", "/balloon/hinting/start", """{"acknowledge_on_stop":true}""", BodyOptional: true),
        new("after", "PATCH", "/balloon/hinting/stop"),
        new("before", "PUT", "/boot-source",
            """{"kernel_image_path":"FOLDER/kernel","initrd_path":"FOLDER/file","boot_args":"quiet"}""", "kernel_image_path"),
        new("before", "PUT", "/cpu-config",
            """
            {"kvm_capabilities":["!121"],
             "cpuid_modifiers":[{"leaf":"0x0","subleaf":"0","flags":1,"modifiers":[{"register":"eax","bitmap":"0bx"}]}],
             "msr_modifiers":[{"addr":"0x10a","bitmap":"0b1"}],
             "reg_modifiers":[{"addr":"0x1","bitmap":"0b1"}],
             "vcpu_features":[{"index":0,"bitmap":"0b1"}]}
            """,
            """
            cpuid_modifiers.0.leaf cpuid_modifiers.0.subleaf cpuid_modifiers.0.flags cpuid_modifiers.0.modifiers
            cpuid_modifiers.0.modifiers.0.register cpuid_modifiers.0.modifiers.0.bitmap msr_modifiers.0.addr msr_modifiers.0.bitmap
            reg_modifiers.0.addr reg_modifiers.0.bitmap vcpu_features.0.index vcpu_features.0.bitmap
            """),
        new("before", "PUT", "/drives/{drive_id}",
            """
            {"drive_id":"new","is_root_device":false,"partuuid":"1-2","cache_type":"Writeback","is_read_only":true,"path_on_host":"FOLDER/file",
             "rate_limiter":RATE,"io_engine":"Async"}
            """,
            "drive_id is_root_device RATES:rate_limiter", Either: "path_on_host is_read_only"),
        new("after", "PATCH", "/drives/{drive_id}", """{"drive_id":"d","path_on_host":"FOLDER/file","rate_limiter":RATE}""", "drive_id RATES:rate_limiter"),
        new("before", "PUT", "/pmem/{id}",
            """{"id":"new","path_on_host":"FOLDER/file","root_device":true,"read_only":true,"rate_limiter":RATE}""",
            "id path_on_host RATES:rate_limiter"),
        new("after", "PATCH", "/pmem/{id}", """{"id":"p","rate_limiter":RATE}""", "id RATES:rate_limiter"),
        new("before", "PUT", "/logger",
            """{"level":"Warning","log_path":"FOLDER/file","show_level":true,"show_log_origin":true,"module":"api_server"}"""),
        new("before", "PUT", "/machine-config",
            """{"vcpu_count":2,"mem_size_mib":256,"smt":true,"cpu_template":"T2","track_dirty_pages":true,"huge_pages":"2M"}""",
            "vcpu_count mem_size_mib"),
        new("before", "PATCH", "/machine-config",
            """{"vcpu_count":2,"mem_size_mib":256,"smt":true,"cpu_template":"None","track_dirty_pages":true,"huge_pages":"None"}"""),
        new("before", "PUT", "/metrics", """{"metrics_path":"FOLDER/file","emit_id":true,"properties":{"rack":"7"}}""", "metrics_path"),
        new("any", "PUT", "/mmds", """{"anything":{"at":["all"]}}"""),
        new("any", "PATCH", "/mmds", """{"anything":null}"""),
        new("before", "PUT", "/mmds/config",
            """{"version":"V2","network_interfaces":["n"],"ipv4_address":"169.254.1.1","imds_compat":true}""", "network_interfaces"),
        new("before", "PUT", "/entropy", """{"rate_limiter":RATE}""", "RATES:rate_limiter"),
        new("before", "PUT", "/serial",
            """{"serial_out_path":"FOLDER/out","rate_limiter":{"size":1,"refill_time":1,"one_time_burst":1}}""",
            "rate_limiter.size rate_limiter.refill_time"),
        new("before", "PUT", "/hotplug/memory", """{"total_size_mib":1024,"slot_size_mib":128,"block_size_mib":2}"""),
        new("after", "PATCH", "/hotplug/memory", """{"requested_size_mib":128}"""),
        new("before", "PUT", "/network-interfaces/{iface_id}",
            """
            {"iface_id":"new","host_dev_name":"tap1","guest_mac":"02:00:00:00:00:09","mtu":1400,"rx_rate_limiter":RATE,"tx_rate_limiter":RATE}
            """,
            "iface_id host_dev_name RATES:rx_rate_limiter RATES:tx_rate_limiter"),
        new("after", "PATCH", "/network-interfaces/{iface_id}",
            """{"iface_id":"n","rx_rate_limiter":RATE,"tx_rate_limiter":RATE}""", "iface_id RATES:rx_rate_limiter RATES:tx_rate_limiter"),
        new("after", "PUT", "/snapshot/create",
            """{"mem_file_path":"FOLDER/saved","snapshot_path":"FOLDER/state","snapshot_type":"Diff"}""", "mem_file_path snapshot_path"),
        new("before", "PUT", "/snapshot/load",
            """
            {"snapshot_path":"FOLDER/loadable","enable_diff_snapshots":true,"track_dirty_pages":true,
             "mem_backend":{"backend_type":"File","backend_path":"FOLDER/memory"},"resume_vm":true,
             "network_overrides":[{"iface_id":"n","host_dev_name":"tap2"}],"vsock_override":{"uds_path":"FOLDER/vsock2"},
             "clock_realtime":true,"huge_pages":"Snapshot"}
            """,
            """
            snapshot_path mem_backend.backend_type mem_backend.backend_path network_overrides.0.iface_id network_overrides.0.host_dev_name
            vsock_override.uds_path
            """,
            Either: "mem_backend"),
        new("after", "PATCH", "/vm", """{"state":"Paused"}""", "state"),
        new("before", "PUT", "/vsock", """{"guest_cid":3,"uds_path":"FOLDER/vsock","vsock_id":"old"}""", "guest_cid uds_path"),
    ];

    /// <summary>Fields that are not in a full body, since they exclude others there.</summary>
    public static IReadOnlyDictionary<string, string> Exclusive { get; } = new Dictionary<string, string>
    {
        ["PUT /drives/{drive_id}"] = "socket",
        ["PUT /snapshot/load"] = "mem_file_path",
    };

    /// <summary>Values that the contract excludes: operation, field, value.</summary>
    public static TheoryData<string, string, string> Excluded { get; } = new()
    {
        { "PUT /actions", "action_type", "\"InstanceStop\"" },
        { "PUT /cpu-config", "cpuid_modifiers.0.modifiers.0.register", "\"rax\"" },
        { "PUT /drives/{drive_id}", "cache_type", "\"unsafe\"" },
        { "PUT /drives/{drive_id}", "io_engine", "\"Uring\"" },
        { "PUT /drives/{drive_id}", "rate_limiter.bandwidth.size", "-1" },
        { "PUT /drives/{drive_id}", "rate_limiter.ops.refill_time", "-1" },
        { "PUT /drives/{drive_id}", "rate_limiter.ops.one_time_burst", "-1" },
        { "PUT /drives/{drive_id}", "rate_limiter.ops.size", "1.5" },
        { "PUT /logger", "level", "\"Loud\"" },
        { "PUT /machine-config", "vcpu_count", "0" },
        { "PUT /machine-config", "vcpu_count", "33" },
        { "PUT /machine-config", "vcpu_count", "3" },
        { "PUT /machine-config", "mem_size_mib", "255" },
        { "PUT /machine-config", "cpu_template", "\"T3\"" },
        { "PUT /machine-config", "huge_pages", "\"1G\"" },
        { "PATCH /machine-config", "vcpu_count", "33" },
        { "PUT /mmds/config", "version", "\"V3\"" },
        { "PUT /mmds/config", "ipv4_address", "\"10.0.0.1\"" },
        { "PUT /mmds/config", "network_interfaces", "[\"other\"]" },
        { "PUT /hotplug/memory", "slot_size_mib", "127" },
        { "PUT /hotplug/memory", "block_size_mib", "1" },
        { "PATCH /hotplug/memory", "requested_size_mib", "-1" },
        { "PUT /hotplug/memory", "total_size_mib", "4294967296" },
        { "PUT /network-interfaces/{iface_id}", "mtu", "67" },
        { "PUT /network-interfaces/{iface_id}", "mtu", "65536" },
        { "PUT /snapshot/create", "snapshot_type", "\"Half\"" },
        { "PUT /snapshot/load", "mem_backend.backend_type", "\"Pipe\"" },
        { "PUT /snapshot/load", "huge_pages", "\"2M\"" },
        { "PUT /snapshot/load", "huge_pages", "\"1G\"" },
        { "PATCH /vm", "state", "\"Running\"" },
        { "PUT /vsock", "guest_cid", "2" },
    };

    public static string Body(ContractRow row, string folder) =>
        row.Full!.Replace("RATE", Rate, StringComparison.Ordinal).Replace("FOLDER", folder, StringComparison.Ordinal);

    public static IReadOnlySet<string> Required(ContractRow row) => row.Required
        .Split((char[])[' ', '\n', '\r'], StringSplitOptions.RemoveEmptyEntries)
        .SelectMany(field => field.StartsWith("RATES:", StringComparison.Ordinal)
            ? ((string[])["bandwidth.size", "bandwidth.refill_time", "ops.size", "ops.refill_time"]).Select(bucket => $"{field[6..]}.{bucket}")
            : [field])
        .ToHashSet(StringComparer.Ordinal);
}
