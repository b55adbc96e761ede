using System.Text.Json;
using System.Text.Json.Serialization;

namespace Hypervisor.Agent.Drivers.Containerd.Spec;

/// <summary>The part of the OCI runtime specification (1.0.2) that the driver renders.</summary>
internal sealed record RuntimeSpec(
    string OciVersion,
    SpecProcess Process,
    SpecRoot Root,
    string Hostname,
    IReadOnlyList<SpecMount> Mounts,
    IReadOnlyDictionary<string, string>? Annotations,
    SpecLinux Linux)
{
    /// <summary>The type under which containerd stores it.</summary>
    public const string TypeUrl = "types.containerd.io/opencontainers/runtime-spec/1/Spec";

    /// <summary>The type under which containerd hands <see cref="SpecLimits"/> to the runtime.</summary>
    public const string ResourcesTypeUrl = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources";

    public byte[] ToJson() => JsonSerializer.SerializeToUtf8Bytes(this, RuntimeSpecJson.Default.RuntimeSpec);

    /// <exception cref="JsonException">It was not rendered by us.</exception>
    public static RuntimeSpec Parse(ReadOnlySpan<byte> json) =>
        JsonSerializer.Deserialize(json, RuntimeSpecJson.Default.RuntimeSpec) ?? throw new JsonException("null");
}

internal sealed record SpecProcess(
    bool Terminal,
    SpecUser User,
    IReadOnlyList<string> Args,
    IReadOnlyList<string> Env,
    string Cwd,
    SpecCapabilities Capabilities,
    IReadOnlyList<SpecRlimit> Rlimits,
    bool NoNewPrivileges,
    SpecConsoleSize? ConsoleSize = null)
{
    /// <summary>The type under which containerd takes another process of a container.</summary>
    public const string TypeUrl = "types.containerd.io/opencontainers/runtime-spec/1/Process";

    public byte[] ToJson() => JsonSerializer.SerializeToUtf8Bytes(this, RuntimeSpecJson.Default.SpecProcess);
}

/// <summary>Characters.</summary>
internal sealed record SpecConsoleSize(uint Height, uint Width);

internal sealed record SpecUser(uint Uid, uint Gid, IReadOnlyList<uint>? AdditionalGids);

/// <summary>Inheritable and ambient stay empty: CVE-2022-24769.</summary>
internal sealed record SpecCapabilities(IReadOnlyList<string> Bounding, IReadOnlyList<string> Effective, IReadOnlyList<string> Permitted);

internal sealed record SpecRlimit(string Type, ulong Hard, ulong Soft);

internal sealed record SpecRoot(string Path, bool Readonly);

internal sealed record SpecMount(string Destination, string Type, string Source, IReadOnlyList<string> Options);

internal sealed record SpecLinux(
    IReadOnlyList<SpecNamespace> Namespaces,
    SpecResources Resources,
    string CgroupsPath,
    SpecSeccomp? Seccomp,
    IReadOnlyList<string> MaskedPaths,
    IReadOnlyList<string> ReadonlyPaths,
    string RootfsPropagation);

internal sealed record SpecNamespace(string Type, string? Path);

internal sealed record SpecResources(IReadOnlyList<SpecDeviceRule> Devices, SpecMemory? Memory, SpecCpu? Cpu, SpecPids Pids);

/// <summary>The resources that change while a container runs; what is left out stays.</summary>
internal sealed record SpecLimits(SpecMemory? Memory, SpecCpu? Cpu, SpecPids Pids)
{
    public byte[] ToJson() => JsonSerializer.SerializeToUtf8Bytes(this, RuntimeSpecJson.Default.SpecLimits);
}

internal sealed record SpecDeviceRule(bool Allow, string Access);

/// <param name="Swap">Memory and swap together, bytes.</param>
internal sealed record SpecMemory(long Limit, long? Swap);

/// <summary>The weight only: see <see cref="Kernel.CpuQuota"/> for the limit.</summary>
internal sealed record SpecCpu(ulong Shares);

internal sealed record SpecPids(long Limit);

internal sealed record SpecSeccomp(
    string DefaultAction,
    uint? DefaultErrnoRet,
    IReadOnlyList<string> Architectures,
    IReadOnlyList<SpecSyscall> Syscalls);

internal sealed record SpecSyscall(IReadOnlyList<string> Names, string Action, uint? ErrnoRet, IReadOnlyList<SpecSyscallArg>? Args);

internal sealed record SpecSyscallArg(uint Index, ulong Value, ulong ValueTwo, string Op);

[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(RuntimeSpec))]
[JsonSerializable(typeof(SpecLimits))]
[JsonSerializable(typeof(SpecProcess))]
internal sealed partial class RuntimeSpecJson : JsonSerializerContext;
