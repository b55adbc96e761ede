using static Hypervisor.FirecrackerStandIn.Contract.Field;

namespace Hypervisor.FirecrackerStandIn.Contract;

/// <summary>Bodies of Firecracker 1.17's API, by our own reading of its published contract.</summary>
internal static class Bodies
{
    private const long Mebibytes = uint.MaxValue;

    public static ObjectShape TokenBucket { get; } = Shape.Object(
        Needed("size", Shape.Number()), Needed("refill_time", Shape.Number()), Optional("one_time_burst", Shape.Number()));

    public static ObjectShape RateLimiter { get; } = Shape.Object(Optional("bandwidth", TokenBucket), Optional("ops", TokenBucket));

    public static ObjectShape Action { get; } = Shape.Object(
        Needed("action_type", Shape.OneOf("FlushMetrics", "InstanceStart", "SendCtrlAltDel")));

    public static ObjectShape Balloon { get; } = Shape.Object(
        Needed("amount_mib", Shape.Number(0, Mebibytes)),
        Needed("deflate_on_oom", Shape.Flag),
        Optional("stats_polling_interval_s", Shape.Number(0, ushort.MaxValue)),
        Optional("free_page_hinting", Shape.Flag),
        Optional("free_page_reporting", Shape.Flag));

    public static ObjectShape BalloonUpdate { get; } = Shape.Object(Needed("amount_mib", Shape.Number(0, Mebibytes)));

    public static ObjectShape BalloonStatsUpdate { get; } = Shape.Object(Needed("stats_polling_interval_s", Shape.Number(0, ushort.MaxValue)));

    public static ObjectShape BalloonStart { get; } = Shape.Object(Optional("acknowledge_on_stop", Shape.Flag));

    public static ObjectShape BootSource { get; } = Shape.Object(
        Needed("kernel_image_path", Shape.Text), Optional("initrd_path", Shape.Text), Optional("boot_args", Shape.Text));

    public static ObjectShape CpuConfig { get; } = Shape.Object(
        Optional("kvm_capabilities", Shape.List(Shape.Text)),
        Optional("cpuid_modifiers", Shape.List(Shape.Object(
            Needed("leaf", Shape.Text),
            Needed("subleaf", Shape.Text),
            Needed("flags", Shape.Number(int.MinValue, uint.MaxValue)),
            Needed("modifiers", Shape.List(Shape.Object(
                Needed("register", Shape.OneOf("eax", "ebx", "ecx", "edx")), Needed("bitmap", Shape.Text))))))),
        Optional("msr_modifiers", Shape.List(Modifier)),
        Optional("reg_modifiers", Shape.List(Modifier)),
        Optional("vcpu_features", Shape.List(Shape.Object(Needed("index", Shape.Number(int.MinValue, uint.MaxValue)), Needed("bitmap", Shape.Text)))));

    public static ObjectShape Drive { get; } = Shape.Object(
        Needed("drive_id", Shape.Text),
        Needed("is_root_device", Shape.Flag),
        Optional("partuuid", Shape.Text),
        Optional("cache_type", Shape.OneOf("Unsafe", "Writeback")),
        Optional("is_read_only", Shape.Flag),
        Optional("path_on_host", Shape.Text),
        Optional("rate_limiter", RateLimiter),
        Optional("io_engine", Shape.OneOf("Sync", "Async")),
        Optional("socket", Shape.Text));

    public static ObjectShape PartialDrive { get; } = Shape.Object(
        Needed("drive_id", Shape.Text), Optional("path_on_host", Shape.Text), Optional("rate_limiter", RateLimiter));

    public static ObjectShape Pmem { get; } = Shape.Object(
        Needed("id", Shape.Text),
        Needed("path_on_host", Shape.Text),
        Optional("root_device", Shape.Flag),
        Optional("read_only", Shape.Flag),
        Optional("rate_limiter", RateLimiter));

    public static ObjectShape PartialPmem { get; } = Shape.Object(Needed("id", Shape.Text), Optional("rate_limiter", RateLimiter));

    public static ObjectShape Logger { get; } = Shape.Object(
        Optional("level", new TextShape(["Error", "Warning", "Info", "Debug", "Trace", "Off"]) { IgnoresCase = true }),
        Optional("log_path", Shape.Text),
        Optional("show_level", Shape.Flag),
        Optional("show_log_origin", Shape.Flag),
        Optional("module", Shape.Text));

    public static ObjectShape MachineConfiguration { get; } = Shape.Object(
        Needed("vcpu_count", Shape.Number(1, 32)),
        Needed("mem_size_mib", Shape.Number(1, Mebibytes)),
        Optional("smt", Shape.Flag),
        Optional("cpu_template", Shape.OneOf("C3", "T2", "T2S", "T2CL", "T2A", "V1N1", "None")),
        Optional("track_dirty_pages", Shape.Flag),
        Optional("huge_pages", Shape.OneOf("None", "Transparent", "2M")));

    public static ObjectShape Metrics { get; } = Shape.Object(
        Needed("metrics_path", Shape.Text), Optional("emit_id", Shape.Flag), Optional("properties", Shape.Map(Shape.Text)));

    public static ObjectShape MmdsConfig { get; } = Shape.Object(
        Needed("network_interfaces", Shape.List(Shape.Text)),
        Optional("version", Shape.OneOf("V1", "V2")),
        Optional("ipv4_address", Shape.Text),
        Optional("imds_compat", Shape.Flag));

    public static ObjectShape Entropy { get; } = Shape.Object(Optional("rate_limiter", RateLimiter));

    public static ObjectShape Serial { get; } = Shape.Object(Optional("serial_out_path", Shape.Text), Optional("rate_limiter", TokenBucket));

    public static ObjectShape MemoryHotplug { get; } = Shape.Object(
        Optional("total_size_mib", Shape.Number(0, Mebibytes)),
        Optional("slot_size_mib", Shape.Number(128, Mebibytes)),
        Optional("block_size_mib", Shape.Number(2, Mebibytes)));

    public static ObjectShape MemoryHotplugUpdate { get; } = Shape.Object(Optional("requested_size_mib", Shape.Number(0, Mebibytes)));

    public static ObjectShape NetworkInterface { get; } = Shape.Object(
        Needed("iface_id", Shape.Text),
        Needed("host_dev_name", Shape.Text),
        Optional("guest_mac", Shape.Text),
        Optional("mtu", Shape.Number(68, 65535)),
        Optional("rx_rate_limiter", RateLimiter),
        Optional("tx_rate_limiter", RateLimiter));

    public static ObjectShape PartialNetworkInterface { get; } = Shape.Object(
        Needed("iface_id", Shape.Text), Optional("rx_rate_limiter", RateLimiter), Optional("tx_rate_limiter", RateLimiter));

    public static ObjectShape SnapshotCreate { get; } = Shape.Object(
        Needed("mem_file_path", Shape.Text), Needed("snapshot_path", Shape.Text), Optional("snapshot_type", Shape.OneOf("Full", "Diff")));

    public static ObjectShape SnapshotLoad { get; } = Shape.Object(
        Needed("snapshot_path", Shape.Text),
        Optional("enable_diff_snapshots", Shape.Flag),
        Optional("track_dirty_pages", Shape.Flag),
        Optional("mem_file_path", Shape.Text),
        Optional("mem_backend", Shape.Object(Needed("backend_type", Shape.OneOf("File", "Uffd")), Needed("backend_path", Shape.Text))),
        Optional("resume_vm", Shape.Flag),
        Optional("network_overrides", Shape.List(Shape.Object(Needed("iface_id", Shape.Text), Needed("host_dev_name", Shape.Text)))),
        Optional("vsock_override", Shape.Object(Needed("uds_path", Shape.Text))),
        Optional("clock_realtime", Shape.Flag),
        Optional("huge_pages", Shape.OneOf("Snapshot", "None", "Transparent", "2M")));

    public static ObjectShape Vm { get; } = Shape.Object(Needed("state", Shape.OneOf("Paused", "Resumed")));

    public static ObjectShape Vsock { get; } = Shape.Object(
        Needed("guest_cid", Shape.Number(3, uint.MaxValue)), Needed("uds_path", Shape.Text), Optional("vsock_id", Shape.Text));

    private static ObjectShape Modifier => Shape.Object(Needed("addr", Shape.Text), Needed("bitmap", Shape.Text));
}
