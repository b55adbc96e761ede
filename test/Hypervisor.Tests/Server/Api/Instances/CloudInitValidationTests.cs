using Google.Protobuf;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Errors;
using Hypervisor.Server.Api.Instances;
using Xunit;

namespace Hypervisor.Tests.Server.Api.Instances;

/// <summary>Protects: what a guest is told by cloud-init has the form that it can be told in, and each mistake is named with its field before a guest boots.</summary>
public sealed class CloudInitValidationTests
{
    private const string Key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKvZ3tHs ops@example";

    public static TheoryData<string, Action<CloudInitSpec>> Wrong { get; } = new()
    {
        { "user_data", spec => spec.UserData = "packages: [nginx]\n" },
        { "user_data", spec => spec.UserData = "#cloud-config\n" + new string('x', 64 * 1024) },
        { "user_data", spec => spec.UserData = "#cloud-config\n# " + new string('é', 40 * 1024) },
        { "user_data", spec => spec.UserData = "#cloud-config\n\0" },
        { "user_data", spec => { spec.UserData = "#!/bin/sh\ntrue\n"; spec.Packages.Add("nginx"); } },
        { "user_data", spec => { spec.UserData = "#cloud-configs\n"; spec.RunCommands.Add("true"); } },
        { "users", spec => spec.Users.Add(Enumerable.Range(0, 33).Select(index => new CloudInitUser { Name = $"u{index}" })) },
        { "users[0].name", spec => spec.Users.Add(new CloudInitUser()) },
        { "users[0].name", spec => spec.Users.Add(new CloudInitUser { Name = "Root" }) },
        { "users[0].name", spec => spec.Users.Add(new CloudInitUser { Name = "a\nb" }) },
        { "users[0].name", spec => spec.Users.Add(new CloudInitUser { Name = new string('a', 33) }) },
        { "users[1].name", spec => spec.Users.Add([new CloudInitUser { Name = "a" }, new CloudInitUser { Name = "a" }]) },
        { "users[0].groups[0]", spec => spec.Users.Add(new CloudInitUser { Name = "a", Groups = { "a,b" } }) },
        { "users[0].ssh_authorized_keys[0]", spec => spec.Users.Add(new CloudInitUser { Name = "a", SshAuthorizedKeys = { Key + "\n" + Key } }) },
        { "users[0].ssh_authorized_keys[0]", spec => spec.Users.Add(new CloudInitUser { Name = "a", SshAuthorizedKeys = { "-----BEGIN OPENSSH PRIVATE KEY-----" } }) },
        { "users[0].ssh_authorized_keys[0]", spec => spec.Users.Add(new CloudInitUser { Name = "a", SshAuthorizedKeys = { "" } }) },
        { "users[0].ssh_authorized_keys", spec => spec.Users.Add(new CloudInitUser { Name = "a", SshAuthorizedKeys = { Enumerable.Repeat(Key, 65) } }) },
        { "users[0].password_hash", spec => spec.Users.Add(new CloudInitUser { Name = "a", PasswordHash = "hunter2" }) },
        { "users[0].password_hash", spec => spec.Users.Add(new CloudInitUser { Name = "a", PasswordHash = "$6$salt$a:0:0" }) },
        { "users[0].shell", spec => spec.Users.Add(new CloudInitUser { Name = "a", Shell = "bash" }) },
        { "packages", spec => spec.Packages.Add(Enumerable.Range(0, 257).Select(index => $"p{index}")) },
        { "packages[0]", spec => spec.Packages.Add("--allow-unauthenticated") },
        { "packages[0]", spec => spec.Packages.Add("a b") },
        { "files[0].path", spec => spec.Files.Add(new CloudInitFile { Path = "etc/motd" }) },
        { "files[0].path", spec => spec.Files.Add(new CloudInitFile { Path = "/etc/" }) },
        { "files[0].path", spec => spec.Files.Add(new CloudInitFile { Path = "/a\nb" }) },
        { "files[1].path", spec => spec.Files.Add([new CloudInitFile { Path = "/a" }, new CloudInitFile { Path = "/a" }]) },
        { "files[0].mode", spec => spec.Files.Add(new CloudInitFile { Path = "/a", Mode = 4096 }) },
        { "files[0].mode", spec => spec.Files.Add(new CloudInitFile { Path = "/a", Mode = -1 }) },
        { "files[0].owner", spec => spec.Files.Add(new CloudInitFile { Path = "/a", Owner = "root:root:root" }) },
        { "files", spec => spec.Files.Add([File(40 * 1024, "/a"), File(40 * 1024, "/b")]) },
        { "files", spec => spec.Files.Add(Enumerable.Range(0, 65).Select(index => File(1, $"/{index}"))) },
        { "run_commands", spec => spec.RunCommands.Add(Enumerable.Repeat("true", 65)) },
        { "run_commands[0]", spec => spec.RunCommands.Add("") },
        { "run_commands[0]", spec => spec.RunCommands.Add("a\0b") },
    };

    [Theory]
    [MemberData(nameof(Wrong), DisableDiscoveryEnumeration = true)]
    public void What_is_wrong_is_named_by_its_path(string field, Action<CloudInitSpec> spoil)
    {
        var spec = new CloudInitSpec();
        spoil(spec);

        Assert.Contains($"cloud_init.{field}", Check(spec).All.Select(violation => violation.Field));
        Assert.All(Check(spec).All, violation => Assert.DoesNotContain(violation.Description, char.IsControl));
        Assert.All(Check(spec).All, violation => Assert.DoesNotContain("hunter2", violation.Description, StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("#cloud-config\npackages: [vim]\n")]
    [InlineData("#cloud-config \r\n{}")]
    [InlineData("")]
    public void What_people_really_write_is_accepted(string userData)
    {
        var spec = new CloudInitSpec
        {
            UserData = userData,
            Users =
            {
                new CloudInitUser
                {
                    Name = "ops", Sudo = true, Groups = { "adm", "sudo" }, Shell = "/bin/bash", PasswordHash = "$6$rounds=5000$usesomesalt$kZ.x/7Hq",
                    SshAuthorizedKeys = { Key, "from=\"10.0.0.0/8\",no-pty ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHA=", "sk-ssh-ed25519@openssh.com AAAAGnNr" },
                },
            },
            Packages = { "nginx", "libstdc++6", "python3.11" },
            Files = { new CloudInitFile { Path = "/etc/motd", Content = ByteString.CopyFrom(0, 255), Mode = 0x1FF, Owner = "www-data:www-data" } },
            RunCommands = { "echo 'über' > /tmp/a\necho 2" },
        };

        Assert.Empty(Check(spec).All);
    }

    [Theory]
    [InlineData("#!/bin/sh\ntrue\n")]
    [InlineData("Content-Type: multipart/mixed; boundary=\"x\"\n\n--x--\n")]
    [InlineData("#include\nhttps://example.com/a\n")]
    public void User_data_of_other_kinds_goes_alone(string userData) => Assert.Empty(Check(new CloudInitSpec { UserData = userData }).All);

    private static CloudInitFile File(int size, string path) => new() { Path = path, Content = ByteString.CopyFrom(new byte[size]) };

    private static FieldViolations Check(CloudInitSpec spec)
    {
        var violations = new FieldViolations();
        CloudInitValidation.Check(spec, "cloud_init", violations);
        return violations;
    }
}
