using System.Net;
using CsCheck;
using Hypervisor.Agent.Networking;
using Hypervisor.Agent.Networking.Addressing;
using Hypervisor.Agent.Networking.Attachments;
using Hypervisor.Agent.Networking.Sysctls;
using Hypervisor.Protocol;
using Xunit;

namespace Hypervisor.Tests.Agent.Networking;

/// <summary>Protects: records survive crashes at any point, damage is noticed, and a setting's first value is never lost.</summary>
public sealed class NetworkFilesTests : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("hv-files-").FullName;

    private string Journal => Path.Combine(_directory, "settings.json");

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Fact]
    public void An_attachment_is_read_as_it_was_written()
    {
        var files = new AttachmentFiles(_directory);
        var attachment = Sample();
        files.Save(attachment);

        var (attachments, unreadable) = files.Load();

        var read = Assert.Single(attachments);
        Assert.Equal(attachment with { Ports = [] }, read with { Ports = [] });
        Assert.Equal(attachment.Ports, read.Ports);
        Assert.Empty(unreadable);
    }

    [Fact]
    public void An_attachment_of_a_machine_is_read_with_what_it_is_told()
    {
        var machine = Sample() with { Kind = ConnectionKind.Tap, Answer = new("web-1", [IPAddress.Parse("192.0.2.53")], ["a.example"]) };

        var read = AttachmentFiles.Decode(AttachmentFiles.Encode(machine))!;

        Assert.Equal(ConnectionKind.Tap, read.Kind);
        Assert.Equal("web-1", read.Answer!.Hostname);
        Assert.Equal(machine.Answer.DnsServers, read.Answer.DnsServers);
        Assert.Equal(machine.Answer.DnsSearch, read.Answer.DnsSearch);
    }

    [Fact]
    public void Rates_are_read_as_they_were_written_and_refused_out_of_range()
    {
        var limited = Sample() with { Rate = new(65536, NetworkLimits.LargestRate) };

        Assert.Equal(limited.Rate, AttachmentFiles.Decode(AttachmentFiles.Encode(limited))!.Rate);
        Assert.Null(AttachmentFiles.Decode(AttachmentFiles.Encode(limited with { Rate = new(-1, 0) })));
    }

    [Fact]
    public void A_record_of_an_agent_that_knew_containers_only_is_one_of_a_container()
    {
        const string Former = """{"uid":"00000000-0000-4000-8000-000000000001","epoch":3,"address":"10.66.0.2","prefix_length":24,"ports":[]}""";

        var read = AttachmentFiles.Decode(System.Text.Encoding.UTF8.GetBytes(Former))!;

        Assert.Equal(ConnectionKind.Namespace, read.Kind);
        Assert.Null(read.Answer);
    }

    [Theory]
    [InlineData("\"kind\":\"Macvtap\"")]
    [InlineData("\"kind\":7")]
    [InlineData("\"kind\":\"Tap\",\"answer\":{\"hostname\":\"a\"}")]
    public void A_record_of_a_kind_that_nobody_knows_is_no_record(string kind)
    {
        var former = "{\"uid\":\"00000000-0000-4000-8000-000000000001\",\"epoch\":3,\"address\":\"10.66.0.2\",\"prefix_length\":24,\"ports\":[]," + kind + "}";

        Assert.Null(AttachmentFiles.Decode(System.Text.Encoding.UTF8.GetBytes(former)));
    }

    [Theory]
    [InlineData("hv-0a420002", "10.66.0.2")]
    [InlineData("hv-0a42000", null)]
    [InlineData("hv-0a4200021", null)]
    [InlineData("hv-0x420002", null)]
    [InlineData("hv--a420002", null)]
    [InlineData("hv0", null)]
    public void A_tap_without_a_record_is_known_by_its_name(string name, string? address) =>
        Assert.Equal(address, Attachment.AddressOf(name)?.ToString());

    [Fact]
    public void A_record_cut_off_anywhere_is_no_record()
    {
        var whole = AttachmentFiles.Encode(Sample());

        for (var length = 0; length < whole.Length; length++)
        {
            Assert.Null(AttachmentFiles.Decode(whole.AsSpan(0, length)));
        }
    }

    [Fact]
    public void Random_damage_never_yields_a_record_that_the_rules_could_not_bear() =>
        Gen.Select(Gen.Int[0, 300], Gen.Byte).Sample((position, value) =>
        {
            var content = AttachmentFiles.Encode(Sample());
            content[position % content.Length] = value;
            if (AttachmentFiles.Decode(content) is { } read)
            {
                Assert.True(InstanceUid.IsValid(read.Id.Value));
                Assert.All(read.Ports, port => Assert.InRange(port.HostPort, 1, 65535));
            }
        });

    [Fact]
    public void A_record_under_another_name_and_foreign_files_are_reported_and_left()
    {
        var files = new AttachmentFiles(_directory);
        File.WriteAllBytes(Path.Combine(_directory, "00000000-0000-4000-8000-000000000009.json"), AttachmentFiles.Encode(Sample()));
        File.WriteAllText(Path.Combine(_directory, "notes.txt"), "mine");
        File.WriteAllText(Path.Combine(_directory, "00000000-0000-4000-8000-000000000001.json.new"), "{");

        var (attachments, unreadable) = files.Load();

        Assert.Empty(attachments);
        Assert.Equal(2, unreadable.Count);
        Assert.Equal(2, Directory.GetFiles(_directory).Length);
    }

    [Theory]
    [InlineData("../../etc/passwd")]
    [InlineData("00000000-0000-4000-8000-00000000000/")]
    [InlineData("00000000-0000-4000-8000-00000000000A")]
    [InlineData("{0000000-0000-4000-8000-00000000000}")]
    [InlineData("")]
    public void Nothing_but_a_uid_becomes_a_file_name(string text) => Assert.False(InstanceUid.IsValid(text));

    [Fact]
    public void A_setting_is_put_back_also_when_the_process_died_in_between()
    {
        Write("net/ipv4/ip_forward", "0");
        Settings("boot").Require("net/ipv4/ip_forward", "1");
        Settings("boot").Require("net/ipv4/ip_forward", "1");
        Assert.Equal("1", Read("net/ipv4/ip_forward"));

        Settings("boot").Restore();

        Assert.Equal("0", Read("net/ipv4/ip_forward"));
        Assert.False(File.Exists(Journal));
    }

    [Fact]
    public void A_setting_whose_previous_value_cannot_be_kept_is_not_changed()
    {
        Write("key", "0");
        var settings = new KernelSettings(Path.Combine(_directory, "absent", "settings.json"), Path.Combine(_directory, "sys"), "boot");

        Assert.ThrowsAny<IOException>(() => settings.Require("key", "1"));

        Assert.Equal("0", Read("key"));
    }

    [Fact]
    public void What_somebody_set_in_between_is_what_is_put_back()
    {
        Write("key", "0");
        Settings("boot").Require("key", "1");
        Write("key", "2");
        Settings("boot").Require("key", "1");

        Settings("boot").Restore();

        Assert.Equal("2", Read("key"));
    }

    [Fact]
    public void A_journal_of_another_boot_is_void()
    {
        Write("net/ipv4/ip_forward", "0");
        Settings("boot 1").Require("net/ipv4/ip_forward", "1");

        // After the reboot the administrator's own configuration switches it on.
        Settings("boot 2").Require("net/ipv4/ip_forward", "1");
        Settings("boot 2").Restore();

        Assert.Equal("1", Read("net/ipv4/ip_forward"));
    }

    [Fact]
    public void A_setting_that_was_right_already_is_not_touched_on_restore()
    {
        Write("key", "1");
        Settings("boot").Require("key", "1");
        Write("key", "2");

        Settings("boot").Restore();

        Assert.Equal("2", Read("key"));
    }

    [Fact]
    public void A_torn_journal_counts_as_none()
    {
        Write("key", "0");
        File.WriteAllText(Journal, "{\"boot_id\":\"bo");

        Settings("boot").Require("key", "1");
        Settings("boot").Restore();

        Assert.Equal("0", Read("key"));
    }

    private static Attachment Sample() => new(
        new InstanceId("00000000-0000-4000-8000-000000000001"),
        new Epoch((1L << 48) + 3),
        IPAddress.Parse("10.66.0.2"),
        Ipv4Subnet.Of(IPNetwork.Parse("10.66.0.0/24")),
        [new(PortProtocol.Tcp, IPAddress.Any, 8080, 80), new(PortProtocol.Udp, IPAddress.Loopback, 53, 53)]);

    private KernelSettings Settings(string boot) => new(Journal, Path.Combine(_directory, "sys"), boot);

    private void Write(string key, string value)
    {
        var path = Path.Combine(_directory, "sys", key);
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        File.WriteAllText(path, value);
    }

    private string Read(string key) => File.ReadAllText(Path.Combine(_directory, "sys", key)).Trim();
}
