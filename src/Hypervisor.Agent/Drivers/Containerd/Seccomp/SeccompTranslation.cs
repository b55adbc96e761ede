using Hypervisor.Agent.Drivers.Containerd.Spec;

namespace Hypervisor.Agent.Drivers.Containerd.Seccomp;

/// <summary>The machine that a profile is translated for.</summary>
/// <param name="Architecture">As in Go and Docker: "amd64".</param>
/// <param name="Foreign">Whether programs of sub-architectures may run.</param>
internal sealed record SeccompTarget(string Architecture, Version Kernel, bool Foreign)
{
    /// <summary>libseccomp's name of the architecture.</summary>
    public string Token => Architecture switch
    {
        "amd64" => "SCMP_ARCH_X86_64",
        "arm64" => "SCMP_ARCH_AARCH64",
        "riscv64" => "SCMP_ARCH_RISCV64",
        "s390x" => "SCMP_ARCH_S390X",
        "ppc64le" => "SCMP_ARCH_PPC64LE",
        _ => throw new PlatformNotSupportedException($"no seccomp architecture is known for {Architecture}"),
    };
}

/// <summary>Resolves a Docker profile for given capabilities into the OCI form: a pure function.</summary>
internal static class SeccompTranslation
{
    public static SpecSeccomp Translate(SeccompProfile profile, IReadOnlyCollection<string> capabilities, SeccompTarget target)
    {
        var granted = capabilities.ToHashSet(StringComparer.Ordinal);
        var rules = new List<SpecSyscall>();
        foreach (var rule in profile.Syscalls ?? [])
        {
            IReadOnlyList<string> names = rule.Names is { Count: > 0 } ? rule.Names : rule.Name is { Length: > 0 } ? [rule.Name] : [];
            if (names.Count > 0 && Applies(rule, granted, target) && !IsDefault(rule, profile))
            {
                rules.Add(new SpecSyscall(
                    names,
                    rule.Action,
                    rule.ErrnoRet,
                    rule.Args is { Count: > 0 } ? [.. rule.Args.Select(a => new SpecSyscallArg(a.Index, a.Value, a.ValueTwo, a.Op))] : null));
            }
        }

        return new SpecSeccomp(profile.DefaultAction, profile.DefaultErrnoRet, Architectures(profile, target), rules);
    }

    private static IReadOnlyList<string> Architectures(SeccompProfile profile, SeccompTarget target)
    {
        if (!target.Foreign)
        {
            return [target.Token];
        }

        return profile.ArchMap?.FirstOrDefault(entry => entry.Architecture == target.Token) is { } entry
            ? [entry.Architecture, .. entry.SubArchitectures ?? []]
            : profile.Architectures is { Count: > 0 } listed ? listed : [target.Token];
    }

    private static bool Applies(ProfileSyscall rule, HashSet<string> granted, SeccompTarget target)
    {
        if (rule.Excludes is { } excludes
            && ((excludes.Caps?.Any(granted.Contains) ?? false)
                || (excludes.Arches?.Contains(target.Architecture) ?? false)
                || (excludes.MinKernel is { Length: > 0 } below && target.Kernel >= ParseKernel(below))))
        {
            return false;
        }

        return rule.Includes is not { } includes
            || ((includes.Caps?.All(granted.Contains) ?? true)
                && (includes.Arches is not { Count: > 0 } arches || arches.Contains(target.Architecture))
                && (includes.MinKernel is not { Length: > 0 } from || target.Kernel >= ParseKernel(from)));
    }

    /// <summary>A rule that says what holds anyway costs libseccomp time and the kernel nothing less.</summary>
    private static bool IsDefault(ProfileSyscall rule, SeccompProfile profile) =>
        rule.Action == profile.DefaultAction && rule.Args is not { Count: > 0 } && (rule.ErrnoRet ?? 1) == (profile.DefaultErrnoRet ?? 1);

    private static Version ParseKernel(string text) => Version.TryParse(text, out var version) ? version : new Version(0, 0);
}
