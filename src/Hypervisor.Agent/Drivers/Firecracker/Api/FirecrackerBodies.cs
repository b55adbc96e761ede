using System.Text.Json.Serialization;

namespace Hypervisor.Agent.Drivers.Firecracker.Api;

// Bodies of Firecracker's API as of 1.17, of what we use. Absent is not the same as null there: what is null here is left out.

internal sealed record LoggerBody(string LogPath, string Level, bool ShowLevel);

internal sealed record MetricsBody(string MetricsPath);

internal sealed record MachineConfigurationBody(int VcpuCount, long MemSizeMib, bool Smt, bool TrackDirtyPages);

internal sealed record BootSourceBody(string KernelImagePath, string InitrdPath, string BootArgs);

/// <param name="Size">Tokens: bytes or operations.</param>
/// <param name="RefillTime">Milliseconds.</param>
internal sealed record TokenBucketBody(long Size, long RefillTime);

internal sealed record RateLimiterBody(TokenBucketBody? Bandwidth, TokenBucketBody? Ops);

internal sealed record DriveBody(
    string DriveId, string PathOnHost, bool IsRootDevice, bool IsReadOnly, string CacheType, string IoEngine, RateLimiterBody? RateLimiter);

internal sealed record PartialDriveBody(string DriveId, string? PathOnHost, RateLimiterBody? RateLimiter);

internal sealed record NetworkInterfaceBody(
    string IfaceId, string HostDevName, string GuestMac, int? Mtu);

internal sealed record VsockBody(int GuestCid, string UdsPath);

internal sealed record BalloonBody(long AmountMib, bool DeflateOnOom, int StatsPollingIntervalS);

internal sealed record BalloonUpdateBody(long AmountMib);

internal sealed record EntropyBody(RateLimiterBody? RateLimiter);

internal sealed record ActionBody(string ActionType)
{
    public const string InstanceStart = "InstanceStart";
    public const string SendCtrlAltDel = "SendCtrlAltDel";
    public const string FlushMetrics = "FlushMetrics";
}

internal sealed record VmStateBody(string State)
{
    public const string Paused = "Paused";
    public const string Resumed = "Resumed";
}

internal sealed record SnapshotCreateBody(string SnapshotPath, string MemFilePath, string SnapshotType)
{
    public const string Full = "Full";
    public const string Diff = "Diff";
}

internal sealed record MemoryBackendBody(string BackendType, string BackendPath);

internal sealed record NetworkOverrideBody(string IfaceId, string HostDevName);

internal sealed record SnapshotLoadBody(
    string SnapshotPath, MemoryBackendBody MemBackend, bool TrackDirtyPages, bool ResumeVm, IReadOnlyList<NetworkOverrideBody>? NetworkOverrides);

/// <param name="State">"Not started", "Running" or "Paused".</param>
internal sealed record InstanceInfo(string State, string Id, string VmmVersion);

internal sealed record VersionInfo(string FirecrackerVersion);

internal sealed record Fault(string? FaultMessage);

[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower,
    DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
    RespectNullableAnnotations = true,
    RespectRequiredConstructorParameters = true)]
[JsonSerializable(typeof(LoggerBody))]
[JsonSerializable(typeof(MetricsBody))]
[JsonSerializable(typeof(MachineConfigurationBody))]
[JsonSerializable(typeof(BootSourceBody))]
[JsonSerializable(typeof(DriveBody))]
[JsonSerializable(typeof(PartialDriveBody))]
[JsonSerializable(typeof(NetworkInterfaceBody))]
[JsonSerializable(typeof(VsockBody))]
[JsonSerializable(typeof(BalloonBody))]
[JsonSerializable(typeof(BalloonUpdateBody))]
[JsonSerializable(typeof(EntropyBody))]
[JsonSerializable(typeof(ActionBody))]
[JsonSerializable(typeof(VmStateBody))]
[JsonSerializable(typeof(SnapshotCreateBody))]
[JsonSerializable(typeof(SnapshotLoadBody))]
[JsonSerializable(typeof(InstanceInfo))]
[JsonSerializable(typeof(VersionInfo))]
[JsonSerializable(typeof(Fault))]
internal sealed partial class FirecrackerJson : JsonSerializerContext;
