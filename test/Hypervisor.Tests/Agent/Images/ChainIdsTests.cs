using Hypervisor.Agent.Images;
using Xunit;

namespace Hypervisor.Tests.Agent.Images;

/// <summary>Protects: names of stacked layers are those every other client of containerd computes.</summary>
public sealed class ChainIdsTests
{
    private static readonly string A = ChainIds.Digest("a"u8);
    private static readonly string B = ChainIds.Digest("b"u8);

    [Fact]
    public void The_lowest_layer_is_its_own_chain() => Assert.Equal([A], ChainIds.Of([A]));

    [Fact]
    public void Each_further_layer_hashes_the_chain_below_and_itself() =>
        Assert.Equal(ChainIds.Digest(System.Text.Encoding.ASCII.GetBytes($"{A} {B}")), ChainIds.Of([A, B])[1]);

    [Theory]
    [InlineData("sha256:ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb", true)]
    [InlineData("sha256:CA978112CA1BBDCAFAC231B39A23DC4DA786EFF8147C4E72B9807785AFEE48BB", false)]
    [InlineData("sha256:../../../etc/passwd", false)]
    [InlineData("sha512:ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb", false)]
    [InlineData("", false)]
    [InlineData(null, false)]
    public void Only_a_proper_digest_is_one(string? text, bool expected) => Assert.Equal(expected, ChainIds.IsDigest(text));
}
