using Hypervisor.Server.Images;
using Xunit;

namespace Hypervisor.Tests.Server.Images;

/// <summary>Protects: an image's name is safe in a key, a table and a command line.</summary>
public sealed class ImageReferenceTests
{
    [Theory]
    [InlineData("box", "box:latest")]
    [InlineData("box:1.36-musl", "box:1.36-musl")]
    [InlineData("my.box__x--y:V_1", "my.box__x--y:V_1")]
    public void Good_names_get_a_tag(string text, string expected)
    {
        Assert.True(ImageReference.TryParse(text, out var reference));
        Assert.Equal(expected, reference.ToString());
    }

    [Theory]
    [InlineData("")]
    [InlineData(":1")]
    [InlineData("box:")]
    [InlineData("a/b")]
    [InlineData("Box")]
    [InlineData("-box")]
    [InlineData("box-")]
    [InlineData("a..b")]
    [InlineData("box:a:b")]
    [InlineData("box:.a")]
    [InlineData("box:a b")]
    [InlineData("box\n")]
    [InlineData("box:a\n")]
    [InlineData("--name")]
    [InlineData("a,b")]
    [InlineData("a\0")]
    public void Bad_names_are_refused(string text) => Assert.False(ImageReference.TryParse(text, out _));

    [Theory]
    [InlineData("docker.io/library/busybox:1.36", "busybox:1.36")]
    [InlineData("localhost:5000/team/app", "app:latest")]
    [InlineData("box:1@sha256:00", "box:1")]
    public void Registry_and_path_of_foreign_names_are_left_out(string text, string expected)
    {
        Assert.True(ImageReference.TryParseForeign(text, out var reference));
        Assert.Equal(expected, reference.ToString());
    }
}
