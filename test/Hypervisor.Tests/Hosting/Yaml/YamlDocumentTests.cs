using System.Text;
using Hypervisor.Hosting.Yaml;
using Xunit;

namespace Hypervisor.Tests.Hosting.Yaml;

/// <summary>Protects: a document is either understood as written or refused with the line; no document exhausts its reader.</summary>
public sealed class YamlDocumentTests
{
    [Fact]
    public void Values_keep_their_lines_and_quoting()
    {
        var document = YamlDocument.Load("# comment\na: 1\nb:\n  - x\n  - \"1\"\nc: {d: e}\n", "f.yaml");

        Assert.Equal(2, document.LineOf("a"));
        Assert.Equal(5, document.LineOf("b.1"));
        Assert.Equal(6, document.LineOf("c.d"));
        Assert.Equal(6, document.LineOf("c.absent"));
        Assert.Equal([6], document.LinesOfKey("d"));
        Assert.Equal("""{"a":1,"b":["x","1"],"c":{"d":"e"}}""", document.ToJson());
    }

    [Theory]
    [InlineData("")]
    [InlineData("# nothing\n")]
    [InlineData("---\n...\n")]
    [InlineData("~\n")]
    public void A_document_without_content_is_an_empty_mapping(string text) => Assert.Equal("{}", YamlDocument.Load(text, "f").ToJson());

    [Theory]
    [InlineData("a: 1\nb: 2\na: 3\n", "f:3: repeats the key \"a\" of line 1")]
    [InlineData("a: &x 1\n", "f:1: defines an anchor (&x)")]
    [InlineData("a: 1\nb: *x\n", "f:2: refers to an anchor (*x)")]
    [InlineData("a: !!str 1\n", "f:1: has a tag")]
    [InlineData("a: ! 1\n", "f:1: has a tag")]
    [InlineData("a: !Foo {b: c}\n", "f:1: has a tag (!Foo)")]
    [InlineData("%YAML 1.1\n---\na: 1\n", "has a directive")]
    [InlineData("a: 1\n---\nb: 1\n", "begins a second document")]
    [InlineData("- a\n", "f:1: is a list")]
    [InlineData("hello\n", "f:1: is a value")]
    [InlineData("[a]: b\n", "f:1: uses a list as a key")]
    [InlineData("\"\": b\n", "f:1: has an empty key")]
    [InlineData("a: 1\n b: 2\n", "f:2: is not valid YAML")]
    [InlineData("a: [1\n", "is not valid YAML")]
    [InlineData("a: \"x\n", "is not valid YAML")]
    [InlineData("a:\tb: c\n", "is not valid YAML")]
    public void What_is_refused_names_its_line(string text, string expected)
    {
        var exception = Assert.Throws<InvalidYamlException>(() => YamlDocument.Load(text, "f"));

        Assert.Contains(exception.Errors, error => error.Contains(expected, StringComparison.Ordinal));
        Assert.All(exception.Errors, error => Assert.Contains(" – ", error));
    }

    [Fact]
    public void All_errors_come_at_once_up_to_a_bound()
    {
        var two = Assert.Throws<InvalidYamlException>(() => YamlDocument.Load("a: &x 1\nb: *x\na: 2\n", "f"));
        var many = Assert.Throws<InvalidYamlException>(() => YamlDocument.Load(string.Concat(Enumerable.Repeat("a: &x 1\n", 1000)), "f"));

        Assert.Equal(3, two.Errors.Count);
        Assert.Equal(20, many.Errors.Count);
    }

    [Fact]
    public void A_billion_laughs_are_refused_without_expansion()
    {
        var bomb = new StringBuilder("a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n");
        for (var level = 1; level < 12; level++)
        {
            bomb.Append($"a{level}: &a{level} [{string.Join(", ", Enumerable.Repeat($"*a{level - 1}", 9))}]\n");
        }

        var exception = Assert.Throws<InvalidYamlException>(() => YamlDocument.Load(bomb.ToString(), "f"));

        Assert.Equal(20, exception.Errors.Count);
    }

    [Theory]
    [InlineData("[")]
    [InlineData("{a: ")]
    [InlineData("- ")]
    [InlineData("? ")]
    public void Deep_nesting_is_refused_before_it_exhausts_the_stack(string level)
    {
        var text = "a: " + (level is "- " or "? " ? "\n" : "") + string.Concat(Enumerable.Repeat(level, 100_000));

        var exception = Assert.Throws<InvalidYamlException>(() => YamlDocument.Load(text, "f"));

        Assert.Contains("deeper than 32 levels", exception.Message);
    }

    [Fact]
    public void A_huge_document_is_refused_by_its_size() =>
        Assert.Contains("larger than 1024 KiB", Assert.Throws<InvalidYamlException>(() => YamlDocument.Load(new string('#', 1024 * 1024 + 1), "f")).Message);

    [Fact]
    public void Control_characters_of_a_document_do_not_reach_a_message()
    {
        var exception = Assert.Throws<InvalidYamlException>(() => YamlDocument.Load("\"a\\e[31m\": 1\n\"a\\e[31m\": 2\n", "f"));

        Assert.DoesNotContain('\u001b', exception.Message);
        Assert.Contains("\\u001b[31m", exception.Message);
    }

    [Fact]
    public void A_file_that_cannot_be_read_is_named()
    {
        var path = Path.Combine(Path.GetTempPath(), Path.GetRandomFileName());
        Assert.Contains($"{path}: cannot be read", Assert.Throws<InvalidYamlException>(() => YamlDocument.LoadFile(path)).Message);

        try
        {
            File.WriteAllBytes(path, [0x61, 0x3a, 0x20, 0xff, 0xfe]);
            Assert.Contains("is not UTF-8", Assert.Throws<InvalidYamlException>(() => YamlDocument.LoadFile(path)).Message);

            File.WriteAllText(path, "a: 1\n", new UTF8Encoding(encoderShouldEmitUTF8Identifier: true));
            Assert.Equal("""{"a":1}""", YamlDocument.LoadFile(path).ToJson());
        }
        finally
        {
            File.Delete(path);
        }

        Assert.Contains("larger than", Assert.Throws<InvalidYamlException>(() => YamlDocument.LoadFile("/dev/zero")).Message);
    }

    [Theory]
    [InlineData("true", "true")]
    [InlineData("False", "false")]
    [InlineData("yes", "\"yes\"")]
    [InlineData("null", "null")]
    [InlineData("~", "null")]
    [InlineData("", "null")]
    [InlineData("\"\"", "\"\"")]
    [InlineData("'true'", "\"true\"")]
    [InlineData("12", "12")]
    [InlineData("-1", "-1")]
    [InlineData("+5", "5")]
    [InlineData("1.50", "1.50")]
    [InlineData("1e3", "1e3")]
    [InlineData("0", "0")]
    [InlineData("1.2.3", "\"1.2.3\"")]
    [InlineData("9223372036854775808000", "9223372036854775808000")]
    [InlineData("512MiB", "\"512MiB\"")]
    [InlineData("10:30", "\"10:30\"")]
    [InlineData("2001-01-01", "\"2001-01-01\"")]
    [InlineData("\"a\\tb\"", "\"a\\tb\"")]
    public void Scalars_follow_the_core_schema(string yaml, string json) =>
        Assert.Equal($"{{\"a\":{json}}}", YamlDocument.Load($"a: {yaml}\n", "f").ToJson());

    [Theory]
    [InlineData("0644", "leading zeros")]
    [InlineData("0x1f", "not a decimal number")]
    [InlineData("0o17", "not a decimal number")]
    [InlineData(".inf", "not a finite number")]
    [InlineData("-.Inf", "not a finite number")]
    [InlineData(".NaN", "not a finite number")]
    public void Numbers_that_mean_different_things_to_different_readers_are_refused(string yaml, string expected)
    {
        var exception = Assert.Throws<InvalidYamlException>(() => YamlDocument.Load($"x: 1\na:\n  - {yaml}\n", "f").ToJson());

        Assert.StartsWith("f:3: a.0: ", exception.Message);
        Assert.Contains(expected, exception.Message);
    }

    [Fact]
    public void Block_text_keeps_its_line_ends() =>
        Assert.Equal("""{"a":"x\ny\n"}""", YamlDocument.Load("a: |\n  x\n  y\n", "f").ToJson());
}
