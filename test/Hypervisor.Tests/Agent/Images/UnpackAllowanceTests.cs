using Hypervisor.Agent.Drivers.Containerd;
using Hypervisor.Agent.Images;
using Xunit;

namespace Hypervisor.Tests.Agent.Images;

/// <summary>Protects: an image fills no disk, be it with one layer or with many that each look harmless (Bounded).</summary>
public sealed class UnpackAllowanceTests
{
    private static readonly ImageDescriptor Layer = new("application/vnd.oci.image.layer.v1.tar+gzip", "sha256:" + new string('a', 64), 1_000_000);

    [Fact]
    public void A_layer_may_have_what_its_size_allows_while_the_image_has_room()
    {
        var allowance = new UnpackAllowance(1_000_000_000);
        Assert.Equal(200_000_000, allowance.Of(Layer));
        allowance.Take(900_000_000);
        Assert.Equal(100_000_000, allowance.Of(Layer));
        Assert.Contains("more than 1000000000 bytes", allowance.Excess(Layer, 100_000_001).Message, StringComparison.Ordinal);
        Assert.Contains("decompression bomb", allowance.Excess(Layer, 200_000_001).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void All_layers_together_have_one_bound()
    {
        var allowance = new UnpackAllowance(10);
        allowance.Take(4);
        allowance.Take(6);
        Assert.Contains("images.max_unpacked_size", Assert.Throws<InvalidDataException>(() => allowance.Take(1)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Where_nobody_set_a_bound_only_the_layers_own_holds() =>
        Assert.Equal(ContainerdLimits.LargestUnpacked(Layer.Size), new UnpackAllowance(long.MaxValue).Of(Layer));
}
