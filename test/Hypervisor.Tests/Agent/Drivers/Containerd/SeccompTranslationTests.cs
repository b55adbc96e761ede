using System.Text;
using Hypervisor.Agent.Drivers.Containerd.Seccomp;
using Hypervisor.Agent.Drivers.Containerd.Spec;
using Xunit;

namespace Hypervisor.Tests.Agent.Drivers.Containerd;

/// <summary>Protects: a profile in Docker's format means the same after its translation.</summary>
public sealed class SeccompTranslationTests
{
    private const string Profile = """
        {"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":38,"defaultErrno":"ENOSYS",
         "archMap":[{"architecture":"SCMP_ARCH_X86_64","subArchitectures":["SCMP_ARCH_X86","SCMP_ARCH_X32"]}],
         "syscalls":[
          {"names":["read","write"],"action":"SCMP_ACT_ALLOW","args":[],"includes":{},"excludes":{}},
          {"names":["personality"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":4294967295,"valueTwo":1,"op":"SCMP_CMP_EQ"}]},
          {"names":["chroot"],"action":"SCMP_ACT_ALLOW","args":null,"includes":{"caps":["CAP_SYS_CHROOT"]}},
          {"names":["chroot"],"action":"SCMP_ACT_ERRNO","errnoRet":1,"excludes":{"caps":["CAP_SYS_CHROOT"]}},
          {"names":["arm_only"],"action":"SCMP_ACT_ALLOW","includes":{"arches":["arm64"]}},
          {"names":["not_arm"],"action":"SCMP_ACT_ALLOW","excludes":{"arches":["arm64"]}},
          {"names":["new_kernel"],"action":"SCMP_ACT_ALLOW","includes":{"minKernel":"4.8"}},
          {"names":["newer_kernel"],"action":"SCMP_ACT_ALLOW","includes":{"minKernel":"6.12"}},
          {"names":["redundant"],"action":"SCMP_ACT_ERRNO","errnoRet":38},
          {"name":"old_form","action":"SCMP_ACT_ALLOW"}]}
        """;

    private static readonly SeccompTarget Amd64 = new("amd64", new Version(6, 2), Foreign: false);

    [Fact]
    public void Rules_apply_by_capability_architecture_and_kernel()
    {
        Assert.Equal(
            ["read,write ALLOW", "personality ALLOW", "chroot ERRNO", "not_arm ALLOW", "new_kernel ALLOW", "old_form ALLOW"],
            Rules(Translate([], Amd64)));
        Assert.Contains("chroot ALLOW", Rules(Translate(["CAP_SYS_CHROOT"], Amd64)));
        Assert.DoesNotContain("chroot ERRNO", Rules(Translate(["CAP_SYS_CHROOT"], Amd64)));
        Assert.Contains("arm_only ALLOW", Rules(Translate([], Amd64 with { Architecture = "arm64" })));
        Assert.Contains("newer_kernel ALLOW", Rules(Translate([], Amd64 with { Kernel = new Version(6, 12) })));
    }

    [Fact]
    public void Arguments_and_error_numbers_are_kept()
    {
        var translated = Translate([], Amd64);
        Assert.Equal(("SCMP_ACT_ERRNO", 38u), (translated.DefaultAction, translated.DefaultErrnoRet));
        Assert.Equal(new SpecSyscallArg(0, uint.MaxValue, 1, "SCMP_CMP_EQ"), Assert.Single(translated.Syscalls[1].Args!));
        Assert.Equal(1u, translated.Syscalls[2].ErrnoRet);
        Assert.Null(translated.Syscalls[0].Args);
    }

    [Fact]
    public void Other_instruction_sets_run_only_when_asked_for()
    {
        Assert.Equal(["SCMP_ARCH_X86_64"], Translate([], Amd64).Architectures);
        Assert.Equal(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"], Translate([], Amd64 with { Foreign = true }).Architectures);
    }

    private static SpecSeccomp Translate(string[] capabilities, SeccompTarget target) =>
        SeccompTranslation.Translate(SeccompProfile.Parse(Encoding.UTF8.GetBytes(Profile)), capabilities, target);

    private static IEnumerable<string> Rules(SpecSeccomp seccomp) =>
        seccomp.Syscalls.Select(rule => $"{string.Join(',', rule.Names)} {rule.Action["SCMP_ACT_".Length..]}");
}
