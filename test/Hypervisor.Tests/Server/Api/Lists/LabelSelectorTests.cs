using Hypervisor.Server.Api.Lists;
using Xunit;

namespace Hypervisor.Tests.Server.Api.Lists;

/// <summary>Protects: a selector selects what its grammar says, and one that cannot be read says where and why.</summary>
public sealed class LabelSelectorTests
{
    private static readonly Dictionary<string, string> Labels = new()
    {
        ["app"] = "web",
        ["tier"] = "front",
        ["empty"] = "",
        ["example.com/zone"] = "a",
    };

    [Theory]
    [InlineData("", true)]
    [InlineData("   ", true)]
    [InlineData("app=web", true)]
    [InlineData("app==web", true)]
    [InlineData(" app = web , tier = front ", true)]
    [InlineData("app=db", false)]
    [InlineData("app!=db", true)]
    [InlineData("app!=web", false)]
    [InlineData("missing!=x", true)]
    [InlineData("missing=x", false)]
    [InlineData("app in (web,db)", true)]
    [InlineData("app in(db)", false)]
    [InlineData("app notin (db, cache)", true)]
    [InlineData("app notin (web)", false)]
    [InlineData("missing notin (web)", true)]
    [InlineData("app", true)]
    [InlineData("missing", false)]
    [InlineData("!missing", true)]
    [InlineData("!app", false)]
    [InlineData("empty=", true)]
    [InlineData("empty in (,x)", true)]
    [InlineData("example.com/zone=a,app", true)]
    [InlineData("in in (x)", false)]
    [InlineData("notin", false)]
    [InlineData("app=web,tier=back", false)]
    public void It_selects_by_its_grammar(string selector, bool matches) =>
        Assert.Equal(matches, LabelSelector.Parse(selector).Matches(Labels));

    [Theory]
    [InlineData(",", 1, "a label key")]
    [InlineData("app=web,", 9, "a label key")]
    [InlineData("app web", 5, "'='")]
    [InlineData("app in web", 8, "'('")]
    [InlineData("app in (web", 12, "',' or ')'")]
    [InlineData("app!web", 5, "'=' after '!'")]
    [InlineData("!", 2, "a label key")]
    [InlineData("app=we b", 8, "',' or the end")]
    [InlineData("app=$x", 5, "a label value")]
    [InlineData("-app=x", 1, "a label key")]
    [InlineData("app=-x", 5, "a label value")]
    [InlineData("a/b/c=x", 1, "a label key")]
    [InlineData("app=a\n", 6, "',' or the end")]
    public void What_cannot_be_read_is_told_with_its_position(string selector, int position, string expected)
    {
        var error = Assert.Throws<LabelSelectorException>(() => LabelSelector.Parse(selector));

        Assert.Equal(position, error.Position);
        Assert.Contains(expected, error.Message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', error.Message);
    }

    [Fact]
    public void A_selector_is_bounded()
    {
        Assert.Throws<LabelSelectorException>(() => LabelSelector.Parse(new string('a', 5000)));
        Assert.Throws<LabelSelectorException>(() => LabelSelector.Parse(string.Join(',', Enumerable.Repeat("a=b", 33))));
        Assert.Throws<LabelSelectorException>(() => LabelSelector.Parse($"a in ({string.Join(',', Enumerable.Repeat("b", 65))})"));
        Assert.Equal(32, LabelSelector.Parse(string.Join(',', Enumerable.Repeat("a=b", 32))).Requirements.Count);
    }
}
