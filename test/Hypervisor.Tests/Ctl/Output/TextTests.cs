using Hypervisor.Ctl.Output;
using Hypervisor.Hosting.Yaml;
using Xunit;

namespace Hypervisor.Tests.Ctl.Output;

/// <summary>Protects: text from elsewhere cannot act on a terminal, and YAML reads back as what was meant.</summary>
public sealed class TextTests
{
    [Theory]
    [InlineData("plain äöü 日本 👩‍💻", "plain äöü 日本 👩‍💻")]
    [InlineData("\e[2J", "\\x1B[2J")]
    [InlineData("a\r\nb\tc\u007F", "a\\x0D\\x0Ab\\x09c\\x7F")]
    [InlineData("\u009B31m", "\\x9B31m")]
    [InlineData("\u202Eevil\u2066", "\\u{202E}evil\\u{2066}")]
    public void Controls_become_visible(string text, string clean) => Assert.Equal(clean, TerminalText.Clean(text));

    [Fact]
    public void Half_a_surrogate_pair_becomes_visible() => Assert.Equal("half \\u{D83D} pair", TerminalText.Clean($"half {(char)0xD83D} pair"));

    [Fact]
    public void Lines_of_a_log_stay_lines() =>
        Assert.Equal("a\tb\nc\\x1B[1m\n", TerminalText.CleanLines("a\tb\r\nc\e[1m\n"));

    [Theory]
    [InlineData("plain")]
    [InlineData("sha256:abc")]
    [InlineData("")]
    [InlineData(" lead")]
    [InlineData("trail ")]
    [InlineData("true")]
    [InlineData("No")]
    [InlineData("null")]
    [InlineData("1.5")]
    [InlineData("0x1F")]
    [InlineData("a: b")]
    [InlineData("a #b")]
    [InlineData("- x")]
    [InlineData("\"quoted\" \\ 'x'")]
    [InlineData("line\nline\ttab")]
    [InlineData("\e[0m\u2028")]
    [InlineData("ends:")]
    [InlineData("*a")]
    [InlineData("日本")]
    public void A_string_survives_yaml(string value)
    {
        var yaml = YamlText.FromJson($$"""{"k":{{System.Text.Json.JsonSerializer.Serialize(value)}},"l":[{"m":[[],{}],"n":1}]}""");

        var root = YamlDocument.Load(yaml, "x").Root;

        Assert.Equal(value, Assert.IsType<YamlScalar>(root.Find("k")!.Value).Text);
        Assert.DoesNotContain('\e', yaml);
        var item = Assert.IsType<YamlMapping>(Assert.Single(Assert.IsType<YamlSequence>(root.Find("l")!.Value).Items));
        Assert.Equal(2, Assert.IsType<YamlSequence>(item.Find("m")!.Value).Items.Count);
    }
}
