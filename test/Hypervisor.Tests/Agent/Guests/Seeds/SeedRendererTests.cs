using System.Net;
using System.Text;
using System.Text.Json;
using Google.Protobuf;
using Hypervisor.Agent.Guests;
using Hypervisor.Agent.Guests.Seeds;
using Hypervisor.Hosting.Yaml;
using Hypervisor.Protocol.V1;
using Xunit;

namespace Hypervisor.Tests.Agent.Guests.Seeds;

/// <summary>Protects: a guest is told what its instance says and nothing else, whatever users write.</summary>
public sealed class SeedRendererTests
{
    private static readonly SeedSource _source = new(
        "uid-1", "web", new GuestAddress(IPAddress.Parse("10.128.0.2"), 24, IPAddress.Parse("10.128.0.1"), "02:00:0a:80:00:02", 1450), ["10.0.0.53"], ["example.org"]);

    [Fact]
    public void The_guest_learns_who_it_is_and_where()
    {
        var seed = SeedRenderer.Render(_source, null);

        Assert.Equal("""{"instance-id":"uid-1","local-hostname":"web"}""" + "\n", seed.MetaData);
        Assert.Equal("#cloud-config\n{}\n", seed.UserData);
        Assert.Equal(
            """{"version":2,"ethernets":{"primary":{"match":{"macaddress":"02:00:0a:80:00:02"},"dhcp4":false,"dhcp6":false,"mtu":1450,"addresses":["10.128.0.2/24"],"routes":[{"to":"0.0.0.0/0","via":"10.128.0.1"}],"nameservers":{"addresses":["10.0.0.53"],"search":["example.org"]}}}}""" + "\n",
            seed.NetworkConfig);
    }

    [Theory]
    [InlineData("plain")]
    [InlineData("\"}\nruncmd: [evil]\n#")]
    [InlineData("a: b\n- c\t'\\ \u2028 \u0085 é 🐚 <&>")]
    [InlineData("{{ v1.jinja }} ${shell} `x` %YAML --- ... !!python/object &a *a")]
    [InlineData("no")]
    [InlineData("0644")]
    public void What_users_write_stays_a_value(string hostile)
    {
        var spec = new CloudInitSpec
        {
            Users = { new CloudInitUser { Name = hostile, SshAuthorizedKeys = { hostile }, Groups = { hostile }, PasswordHash = hostile, Shell = hostile, Sudo = true } },
            Packages = { hostile },
            Files = { new CloudInitFile { Path = hostile, Content = ByteString.CopyFromUtf8(hostile), Owner = hostile, Mode = 0x1ED } },
            RunCommands = { hostile },
        };

        var text = SeedRenderer.Render(_source with { Hostname = hostile }, spec);

        Assert.Equal(hostile, JsonDocument.Parse(text.MetaData).RootElement.GetProperty("local-hostname").GetString());
        Assert.StartsWith("#cloud-config\n", text.UserData, StringComparison.Ordinal);
        Assert.Equal(2, text.UserData.Count(character => character == '\n'));
        var config = JsonDocument.Parse(text.UserData["#cloud-config\n".Length..]).RootElement;
        Assert.Equal(["users", "package_update", "packages", "write_files", "runcmd"], config.EnumerateObject().Select(property => property.Name));
        Assert.Equal("default", config.GetProperty("users")[0].GetString());
        var user = config.GetProperty("users")[1];
        Assert.Equal(["name", "ssh_authorized_keys", "groups", "sudo", "hashed_passwd", "lock_passwd", "shell"], user.EnumerateObject().Select(property => property.Name));
        Assert.All(
            [user.GetProperty("name"), user.GetProperty("ssh_authorized_keys")[0], user.GetProperty("groups")[0], user.GetProperty("hashed_passwd"), user.GetProperty("shell"), config.GetProperty("packages")[0], config.GetProperty("runcmd")[0]],
            value => Assert.Equal(hostile, value.GetString()));
        var file = config.GetProperty("write_files")[0];
        Assert.Equal(hostile, file.GetProperty("path").GetString());
        Assert.Equal(hostile, Encoding.UTF8.GetString(file.GetProperty("content").GetBytesFromBase64()));
        Assert.Equal("0755", file.GetProperty("permissions").GetString());
        // And it is YAML as well as JSON.
        Assert.NotNull(YamlDocument.Load(text.UserData, "user-data"));
    }

    [Theory]
    [InlineData("#cloud-config\nruncmd: [theirs]\n")]
    [InlineData("#!/bin/sh\necho theirs\n")]
    public void User_data_alone_is_passed_on_as_it_was_written(string userData) =>
        Assert.Equal(userData, SeedRenderer.Render(_source, new CloudInitSpec { UserData = userData }).UserData);

    [Fact]
    public void User_data_and_fields_are_two_parts_that_cloud_init_merges()
    {
        const string theirs = "#cloud-config\npackages: [curl]\n--part-\n";
        var merged = SeedRenderer.Render(_source, new CloudInitSpec { UserData = theirs, Packages = { "nginx" } }).UserData;

        var boundary = merged.Split('"')[1];
        var parts = merged.Split("--" + boundary);
        Assert.Equal(4, parts.Length);
        Assert.Equal("--\n", parts[3]);
        Assert.Equal(theirs, Content(parts[1]));
        Assert.Equal("#cloud-config\n{\"package_update\":true,\"packages\":[\"nginx\"]}\n", Content(parts[2]));
        Assert.Contains("\nMerge-Type: list(append)+dict(no_replace,recurse_list)+str()\n", parts[2], StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("#cloud-config", true)]
    [InlineData("#cloud-config\r\na: b", true)]
    [InlineData("#cloud-config-archive\n", false)]
    [InlineData("## template: jinja\n#cloud-config\n", false)]
    public void What_can_be_merged_is_told_by_its_first_line(string userData, bool expected) =>
        Assert.Equal(expected, SeedRenderer.IsCloudConfig(userData));

    private static string Content(string part) => Encoding.UTF8.GetString(Convert.FromBase64String(part[(part.IndexOf("\n\n", StringComparison.Ordinal) + 2)..]));
}
