using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Drivers.Containerd.Spec;
using Xunit;

namespace Hypervisor.Tests.Agent.Drivers.Containerd;

/// <summary>Protects: a container runs as whom its image and its user said, never silently as root.</summary>
public sealed class AccountFilesTests
{
    private const string Passwd = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001::/:/bin/sh\nbroken\n77:x:5:6::/:/bin/sh\nbad:x:-1:0::/:\n";
    private const string Group = "root:x:0:\napp:x:1001:app\nextra:x:2000:other,app\nwheel:x:10:root\n";

    [Theory]
    [InlineData("", 0, 0, "10")]
    [InlineData("root", 0, 0, "10")]
    [InlineData("app", 1000, 1001, "2000")]
    [InlineData("1000", 1000, 1001, "2000")]
    [InlineData("app:extra", 1000, 2000, "")]
    [InlineData("app:99", 1000, 99, "")]
    [InlineData("4242", 4242, 0, "")]
    [InlineData("4242:4343", 4242, 4343, "")]
    [InlineData("77", 5, 6, "")]
    public void Users_and_groups_are_found_by_name_and_number(string user, uint uid, uint gid, string additional)
    {
        var identity = AccountFiles.Resolve(user, Passwd, Group);
        Assert.Equal((uid, gid, additional), (identity.Uid, identity.Gid, string.Join(',', identity.AdditionalGids)));
    }

    [Theory]
    [InlineData("nobody")]
    [InlineData("app:nobody")]
    [InlineData("bad")]
    [InlineData("-1")]
    [InlineData("4294967295")]
    public void Whoever_is_not_there_is_refused(string user) =>
        Assert.Equal("UserNotFound", Assert.Throws<DriverException>(() => AccountFiles.Resolve(user, Passwd, Group)).Reason);

    [Fact]
    public void An_image_without_accounts_still_has_numbers()
    {
        Assert.Equal((7u, 8u), (AccountFiles.Resolve("7:8", null, null).Uid, AccountFiles.Resolve("7:8", null, null).Gid));
        Assert.Throws<DriverException>(() => AccountFiles.Resolve("app", null, null));
    }
}
