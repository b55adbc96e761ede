using System.Text.Json;
using System.Text.Json.Serialization;

namespace Hypervisor.Agent.Drivers.Containerd.Seccomp;

/// <summary>A seccomp profile in Docker's format, which is not OCI's: rules may depend on capabilities, architecture and kernel.</summary>
internal sealed record SeccompProfile(
    string DefaultAction,
    uint? DefaultErrnoRet,
    IReadOnlyList<string>? Architectures,
    IReadOnlyList<ProfileArchitecture>? ArchMap,
    IReadOnlyList<ProfileSyscall>? Syscalls)
{
    /// <exception cref="JsonException">Not a profile.</exception>
    public static SeccompProfile Parse(ReadOnlySpan<byte> json) =>
        JsonSerializer.Deserialize(json, SeccompProfileJson.Default.SeccompProfile) is { DefaultAction.Length: > 0 } profile
            ? profile
            : throw new JsonException("defaultAction is missing");
}

internal sealed record ProfileArchitecture(string Architecture, IReadOnlyList<string>? SubArchitectures);

/// <param name="Name">Of older profiles, instead of <paramref name="Names"/>.</param>
internal sealed record ProfileSyscall(
    IReadOnlyList<string>? Names,
    string? Name,
    string Action,
    uint? ErrnoRet,
    IReadOnlyList<ProfileArgument>? Args,
    ProfileFilter? Includes,
    ProfileFilter? Excludes);

internal sealed record ProfileArgument(uint Index, ulong Value, ulong ValueTwo, string Op);

/// <param name="MinKernel">"major.minor".</param>
internal sealed record ProfileFilter(IReadOnlyList<string>? Caps, IReadOnlyList<string>? Arches, string? MinKernel);

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase)]
[JsonSerializable(typeof(SeccompProfile))]
internal sealed partial class SeccompProfileJson : JsonSerializerContext;
