using System.Text;
using Hypervisor.Agent.Images;
using Xunit;

namespace Hypervisor.Tests.Agent.Images;

/// <summary>Protects: manifests and configurations that do not fit together never reach containerd.</summary>
public sealed class ImageDescriptionTests
{
    private static readonly string Digest = ChainIds.Digest("x"u8);

    [Fact]
    public void Manifest_and_configuration_of_one_image_are_read()
    {
        var manifest = ImageDescription.ParseManifest(Manifest(Digest));
        var image = ImageDescription.ParseConfiguration(
            manifest, Encoding.UTF8.GetBytes($$$"""{"os":"linux","config":{"Cmd":["a"],"Env":["B=c"]},"rootfs":{"diff_ids":["{{{Digest}}}"]}}"""));
        Assert.Equal([Digest], image.Chain);
        Assert.Equal(["a"], image.Defaults.Command);
        Assert.Equal(["B=c"], image.Defaults.Environment);
        Assert.Equal("", image.Defaults.User);
    }

    [Theory]
    [InlineData("{}")]
    [InlineData("not json")]
    [InlineData("null")]
    [InlineData("""{"schemaVersion":2,"manifests":[]}""")]
    public void What_is_no_manifest_is_refused(string json) =>
        Assert.Throws<InvalidDataException>(() => ImageDescription.ParseManifest(Encoding.UTF8.GetBytes(json)));

    [Fact]
    public void A_blob_without_a_proper_digest_is_refused() =>
        Assert.Throws<InvalidDataException>(() => ImageDescription.ParseManifest(Manifest("sha256:../x")));

    [Theory]
    [InlineData("""{"rootfs":{"diff_ids":[]}}""")]
    [InlineData("""{"rootfs":{"diff_ids":["x"]}}""")]
    [InlineData("{}")]
    public void A_configuration_of_other_layers_is_refused(string json)
    {
        var manifest = ImageDescription.ParseManifest(Manifest(Digest));
        Assert.Throws<InvalidDataException>(() => ImageDescription.ParseConfiguration(manifest, Encoding.UTF8.GetBytes(json)));
    }

    private static byte[] Manifest(string layer) => Encoding.UTF8.GetBytes(
        $$"""{"schemaVersion":2,"config":{"mediaType":"c","digest":"{{Digest}}","size":1},"layers":[{"mediaType":"l","digest":"{{layer}}","size":1}]}""");
}
