using Hypervisor.Hosting.Configuration;
using Hypervisor.Hosting.Yaml;
using Xunit;

namespace Hypervisor.Tests.Hosting.Configuration;

/// <summary>Protects: a configuration error names its place, key, value and remedy; nothing misspelt is ignored.</summary>
public sealed class ConfigurationReaderTests
{
    private static readonly Dictionary<string, string> NoEnvironment = [];

    [Theory]
    [InlineData("10s", 10_000)]
    [InlineData("500ms", 500)]
    [InlineData("1h30m", 5_400_000)]
    [InlineData("1.5s", 1_500)]
    [InlineData("0s", 0)]
    public void Durations_are_read_and_written_alike(string text, long milliseconds)
    {
        Assert.True(Units.TryParseDuration(text, out var duration));
        Assert.Equal(milliseconds, duration.TotalMilliseconds);
        Assert.True(Units.TryParseDuration(Units.Format(duration), out var again));
        Assert.Equal(duration, again);
    }

    [Theory]
    [InlineData("")]
    [InlineData("10")]
    [InlineData("s")]
    [InlineData("-1s")]
    [InlineData("1 s")]
    [InlineData("1d")]
    [InlineData("1..5s")]
    [InlineData(".5s")]
    [InlineData("1S")]
    [InlineData("99999999999999999999h")]
    public void What_is_no_duration_is_refused(string text) => Assert.False(Units.TryParseDuration(text, out _));

    [Theory]
    [InlineData("4096", 4096)]
    [InlineData("512MiB", 512L << 20)]
    [InlineData("2G", 2L << 30)]
    [InlineData("1TiB", 1L << 40)]
    public void Sizes_are_read(string text, long bytes)
    {
        Assert.True(Units.TryParseSize(text, out var size));
        Assert.Equal(bytes, size);
    }

    [Theory]
    [InlineData("1GB")]
    [InlineData("1.5G")]
    [InlineData("-1")]
    [InlineData("9999999999T")]
    [InlineData("MiB")]
    public void What_is_no_size_is_refused(string text) => Assert.False(Units.TryParseSize(text, out _));

    [Theory]
    [InlineData("127.0.0.1:50051", "127.0.0.1", 50051, true, false)]
    [InlineData(":8080", "", 8080, false, true)]
    [InlineData("[::1]:1", "::1", 1, true, false)]
    [InlineData("[::]:1", "::", 1, false, true)]
    [InlineData("0.0.0.0:0", "0.0.0.0", 0, false, true)]
    [InlineData("localhost:9", "localhost", 9, true, false)]
    [InlineData("node-1.example.com:9", "node-1.example.com", 9, false, false)]
    public void Addresses_are_read(string text, string host, int port, bool loopback, bool any)
    {
        Assert.True(HostPort.TryParse(text, out var address));
        Assert.Equal(new HostPort(host, port), address);
        Assert.Equal((loopback, any), (address.IsLoopback, address.IsAny));
        Assert.Equal(text, address.ToString());
    }

    [Theory]
    [InlineData("")]
    [InlineData("host")]
    [InlineData("host:")]
    [InlineData("host:65536")]
    [InlineData("host:-1")]
    [InlineData("host:+1")]
    [InlineData("::1:80")]
    [InlineData("[::1:80")]
    [InlineData("[127.0.0.1]:80")]
    [InlineData("1.2.3:80")]
    [InlineData("1.2.3.256:80")]
    [InlineData("a b:80")]
    [InlineData("-a:80")]
    [InlineData("a..b:80")]
    [InlineData("http://a:80")]
    public void What_is_no_address_is_refused(string text) => Assert.False(HostPort.TryParse(text, out _));

    [Fact]
    public void Each_error_has_place_key_value_and_remedy()
    {
        var errors = Errors(
            "port: 70000\nheartbeat:\n  interval: 10\nflag: yes\nlist: [a, a]\nempty:\n");

        Assert.Equal(
            [
                "f:1: port: is out of range (70000) – 1 to 65535",
                "f:3: heartbeat.interval: has no unit (10) – write 10s for seconds or 10ms for milliseconds",
                "f:4: flag: is not a boolean (yes) – write true or false",
                "f:5: list: repeats an entry (a) – keep one of them",
                "f:6: empty: has no value – give it one or remove the key",
            ],
            errors);
    }

    [Theory]
    [InlineData("prot: 1\n", "f:1: prot: is not a known key – did you mean \"port\"?")]
    [InlineData("heartbeat:\n  intervall: 1s\n", "f:2: heartbeat.intervall: is not a known key – did you mean \"interval\"?")]
    [InlineData("interval: 1s\n", "f:1: interval: is not a known key – did you mean \"heartbeat.interval\"?")]
    [InlineData("heartbeat.interval: 1s\n", "f:1: heartbeat.interval: is not a known key – write each part of the key on a line of its own, indented under the one before")]
    [InlineData("heartbeat: 1s\n", "f:1: heartbeat: is a value – it is a section: write its keys indented under it")]
    [InlineData("port: [1]\n", "f:1: port: is a list – write a single value")]
    [InlineData("list: a\n", "f:1: list: is a value – write a list: [a, b]")]
    [InlineData("map: [a]\n", "f:1: map: is a list – write one \"name: value\" per line under it")]
    [InlineData("map:\n  k: bad\n", "f:2: map.k: is bad (bad) – do better")]
    [InlineData("list: [a, b, c, d]\n", "f:1: list: has 4 entries – at most 3")]
    public void Structure_errors_say_what_to_write(string yaml, string expected) => Assert.Equal([expected], Errors(yaml));

    [Fact]
    public void An_unknown_key_far_from_any_other_lists_what_is_known() =>
        Assert.Equal(["f:1: zzzzzz: is not a known key – remove it; known here: empty, flag, heartbeat, list, map, port"], Errors("zzzzzz: 1\n"));

    [Fact]
    public void The_environment_wins_and_is_named_in_errors()
    {
        var errors = Errors(
            "port: 1\n",
            new() { ["T_PORT"] = "x", ["T_HEARTBEAT_INTERVAL"] = "5", ["T_LIST"] = "a,b", ["T_MAP"] = "k=bad", ["T_PROT"] = "1", ["T_CONFIG"] = "/x", ["OTHER"] = "1" });

        Assert.Equal(
            [
                "environment T_PORT: port: is not a whole number (x) – write a number from 1 to 65535",
                "environment T_HEARTBEAT_INTERVAL: heartbeat.interval: has no unit (5) – write 5s for seconds or 5ms for milliseconds",
                "environment T_MAP: map.k: is bad (bad) – do better",
                "environment T_PROT: names no key – did you mean T_PORT?",
            ],
            errors);
    }

    [Fact]
    public void Lists_and_maps_come_from_the_environment_too()
    {
        var reader = new ConfigurationReader(YamlDocument.Load("list: [z]\n", "f"), "T", new Dictionary<string, string> { ["T_LIST"] = "a, b", ["T_MAP"] = "x=1,y=" });

        Assert.Equal(["a", "b"], reader.List("list", [], 3, Values.Text()));
        Assert.Equal([new("x", "1"), new("y", "")], reader.Map("map", 3, (_, _) => null));
        reader.ThrowIfInvalid();
    }

    [Fact]
    public void Two_keys_may_not_share_a_variable()
    {
        var reader = new ConfigurationReader(YamlDocument.Load("", "f"), "T", NoEnvironment);
        reader.Value("a.b", "", Values.Text());

        Assert.Throws<InvalidOperationException>(() => reader.Value("a_b", "", Values.Text()));
    }

    [Fact]
    public void A_secret_shows_itself_to_nobody()
    {
        var reader = new ConfigurationReader(YamlDocument.Load("password: hunter2\n", "f"), "T", NoEnvironment);
        var secret = reader.Secret("password");

        Assert.Equal("hunter2", secret.Reveal());
        Assert.Equal("(hidden)", $"{secret}");
    }

    [Theory]
    [InlineData("10.128.0.0/10", null)]
    [InlineData("10.129.0.0/10", "has host bits set")]
    [InlineData("10.128.0.0", "is not an IPv4 network")]
    [InlineData("10.128.0/10", "is not an IPv4 network")]
    [InlineData("fd00::/8", "is not an IPv4 network")]
    [InlineData("10.0.0.0/33", "is not an IPv4 network")]
    public void Networks_are_written_in_cidr_form(string text, string? expected) => Assert.Equal(expected, Values.Network4(text, out _)?.What);

    [Theory]
    [InlineData("192.0.2.1", true)]
    [InlineData("2001:db8::1", true)]
    [InlineData("1", false)]
    [InlineData("192.0.2.01", false)]
    [InlineData("fe80::1%eth0", false)]
    public void Ip_addresses_have_one_spelling(string text, bool valid) => Assert.Equal(valid, Values.IpAddress(text, out _) is null);

    private static IReadOnlyList<string> Errors(string yaml, Dictionary<string, string>? environment = null)
    {
        var reader = new ConfigurationReader(YamlDocument.Load(yaml, "f"), "T", environment ?? NoEnvironment);
        reader.Value("port", 1, Values.WholeNumber(1, 65535));
        reader.Value("heartbeat.interval", TimeSpan.Zero, Values.Duration(TimeSpan.Zero, TimeSpan.FromHours(1)));
        reader.Value<bool>("flag", false, Values.Bool);
        reader.Value("empty", "", Values.Text());
        reader.List("list", [], 3, Values.Text());
        reader.Map("map", 3, (_, value) => value == "bad" ? new Complaint("is bad", "do better") : null);
        return Assert.Throws<ConfigurationException>(reader.ThrowIfInvalid).Errors;
    }
}
