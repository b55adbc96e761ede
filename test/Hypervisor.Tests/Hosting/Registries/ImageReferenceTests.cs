using Hypervisor.Hosting.Registries;
using Xunit;

namespace Hypervisor.Tests.Hosting.Registries;

/// <summary>Protects: an image's name means the same image everywhere, and is safe in a key, an address, a table and a command line.</summary>
public sealed class ImageReferenceTests
{
    private const string Digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    [Theory]
    [InlineData("box", "box:latest", "docker.io", "library/box", "latest")]
    [InlineData("box:1.36-musl", "box:1.36-musl", "docker.io", "library/box", "1.36-musl")]
    [InlineData("my.box__x--y:V_1", "my.box__x--y:V_1", "docker.io", "library/my.box__x--y", "V_1")]
    [InlineData("library/box", "box:latest", "docker.io", "library/box", "latest")]
    [InlineData("docker.io/box", "box:latest", "docker.io", "library/box", "latest")]
    [InlineData("index.docker.io/library/box", "box:latest", "docker.io", "library/box", "latest")]
    [InlineData("team/app:2", "team/app:2", "docker.io", "team/app", "2")]
    [InlineData("library/a/b", "library/a/b:latest", "docker.io", "library/a/b", "latest")]
    [InlineData("ghcr.io/team/app", "ghcr.io/team/app:latest", "ghcr.io", "team/app", "latest")]
    [InlineData("registry.example/app", "registry.example/app:latest", "registry.example", "app", "latest")]
    [InlineData("localhost/app", "localhost/app:latest", "localhost", "app", "latest")]
    [InlineData("localhost:5000/team/app:1", "localhost:5000/team/app:1", "localhost:5000", "team/app", "1")]
    [InlineData("localhost:5000", "localhost:5000", "docker.io", "library/localhost", "5000")]
    [InlineData("10.0.0.1:5000/a", "10.0.0.1:5000/a:latest", "10.0.0.1:5000", "a", "latest")]
    [InlineData("[::1]:5000/a", "[::1]:5000/a:latest", "[::1]:5000", "a", "latest")]
    [InlineData("box@" + Digest, "box@" + Digest, "docker.io", "library/box", "")]
    [InlineData("box:1@" + Digest, "box:1@" + Digest, "docker.io", "library/box", "1")]
    [InlineData("localhost:5000/a/b@" + Digest, "localhost:5000/a/b@" + Digest, "localhost:5000", "a/b", "")]
    public void Good_names_say_registry_repository_and_tag(string text, string shown, string registry, string repository, string tag)
    {
        Assert.True(ImageReference.TryParse(text, out var reference));
        Assert.Equal((shown, registry, repository, tag), (reference.ToString(), reference.Registry, reference.Repository, reference.Tag));
        Assert.True(ImageReference.TryParse(shown, out var again));
        Assert.Equal(reference, again);
    }

    [Theory]
    [InlineData("")]
    [InlineData(" ")]
    [InlineData("/")]
    [InlineData(":1")]
    [InlineData("@" + Digest)]
    [InlineData("box:")]
    [InlineData("box@")]
    [InlineData("box@sha256:00")]
    [InlineData("box@md5:d41d8cd98f00b204e9800998ecf8427e")]
    [InlineData("box@sha256:0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef")]
    [InlineData("box@" + Digest + "@" + Digest)]
    [InlineData("a//b")]
    [InlineData("/a")]
    [InlineData("a/")]
    [InlineData("a/../b")]
    [InlineData("a/./b")]
    [InlineData("Box")]
    [InlineData("Registry.example/a")]
    [InlineData("-box")]
    [InlineData("box-")]
    [InlineData("a..b")]
    [InlineData("a___b")]
    [InlineData("box:a:b")]
    [InlineData("box:.a")]
    [InlineData("box:a b")]
    [InlineData("box\n")]
    [InlineData("box:a\n")]
    [InlineData("--name")]
    [InlineData("a,b")]
    [InlineData("a\0")]
    [InlineData("a?b=c")]
    [InlineData("a#b")]
    [InlineData("a%2fb")]
    [InlineData("\u00e9")]
    [InlineData("http://registry.example/a")]
    [InlineData("user:password@registry.example/a")]
    [InlineData("registry.example:0/a")]
    [InlineData("registry.example:99999/a")]
    [InlineData("registry.example:/a")]
    [InlineData(":5000/a")]
    [InlineData("10.0.0.256/a")]
    [InlineData("[::1/a")]
    [InlineData("registry..example/a")]
    public void Bad_names_are_refused(string text) => Assert.False(ImageReference.TryParse(text, out _));

    [Fact]
    public void Names_are_bounded()
    {
        Assert.True(ImageReference.TryParse(new string('a', 255), out _));
        Assert.False(ImageReference.TryParse(new string('a', 256), out _));
        Assert.True(ImageReference.TryParse("a:" + new string('b', 128), out _));
        Assert.False(ImageReference.TryParse("a:" + new string('b', 129), out _));
    }

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
