using System.Text;
using Hypervisor.Agent.Instances.Health;
using Xunit;

namespace Hypervisor.Tests.Agent.Instances;

/// <summary>Protects: what a check's command wrote becomes one short line of a status, and no more.</summary>
public sealed class OutputTailTests
{
    [Theory]
    [InlineData("", "")]
    [InlineData(" \n", "")]
    [InlineData("no reply\n", ": no reply")]
    [InlineData("two\r\n  lines\tand\0a\u001b[31mcolour", ": two lines and a [31mcolour")]
    [InlineData("a\u202Eb", ": a b")]
    public void It_is_one_printable_line(string written, string shown)
    {
        var tail = new OutputTail(64);
        tail.Add(Encoding.UTF8.GetBytes(written));
        Assert.Equal(shown, tail.ToString());
    }

    [Theory]
    [InlineData(1)]
    [InlineData(3)]
    [InlineData(100)]
    public void Only_the_end_is_kept_whatever_pieces_it_came_in(int piece)
    {
        var tail = new OutputTail(8);
        foreach (var part in Encoding.UTF8.GetBytes("begin äöü€ end").Chunk(piece))
        {
            tail.Add(part);
        }

        // Eight bytes begin within the u with two dots.
        Assert.Equal(": …€ end", tail.ToString());
    }

    [Theory]
    [InlineData("", "", "")]
    [InlineData("out", "", ": out")]
    [InlineData("", "err", ": err")]
    [InlineData("out\n", "err\n", ": out err")]
    [InlineData("a longer output\n", "err", ": …tput err")]
    [InlineData("out", "a longer error", ": …er error")]
    [InlineData("out", "8 errors", ": …8 errors")]
    public void Of_two_the_second_is_the_end_whichever_came_first(string output, string errors, string shown)
    {
        var (first, second) = (new OutputTail(8), new OutputTail(8));
        second.Add(Encoding.UTF8.GetBytes(errors));
        first.Add(Encoding.UTF8.GetBytes(output));
        Assert.Equal(shown, first.Then(second).ToString());
    }

    [Fact]
    public void What_is_no_text_is_shown_as_such()
    {
        var tail = new OutputTail(8);
        tail.Add([0xFF, (byte)'a', 0xC3]);
        Assert.Equal(": \uFFFDa\uFFFD", tail.ToString());
    }
}
