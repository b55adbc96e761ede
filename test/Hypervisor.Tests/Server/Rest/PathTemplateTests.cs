using Hypervisor.Server.Rest;
using Xunit;

namespace Hypervisor.Tests.Server.Rest;

/// <summary>Protects: a path reaches the method it names, with the values it holds, however they are encoded.</summary>
public sealed class PathTemplateTests
{
    [Theory]
    [InlineData("/v1/nodes/{node}", "/v1/nodes/a", "node=a")]
    [InlineData("/v1/nodes/{node}", "/v1/nodes/a%2Fb%3Astart", "node=a/b:start")]
    [InlineData("/v1/nodes/{node}", "/v1/nodes/a/b", null)]
    [InlineData("/v1/nodes/{node}", "/v1/nodes/", null)]
    [InlineData("/v1/nodes", "/v1/nodes", "")]
    [InlineData("/v1/nodes:watch", "/v1/nodes:watch", "")]
    [InlineData("/v1/nodes:watch", "/v1/nodes%3Awatch", null)]
    [InlineData("/v1/nodes:watch", "/v1/nodes", null)]
    [InlineData("/v1/projects/{project}/instances/{instance}:start", "/v1/projects/p/instances/i:start", "project=p;instance=i")]
    [InlineData("/v1/projects/{project}/instances/{instance}:start", "/v1/projects/p/instances/:start", null)]
    [InlineData("/v1/projects/{project}/images/{image=**}", "/v1/projects/p/images/docker.io/library/a:b", "project=p;image=docker.io/library/a:b")]
    [InlineData("/v1/projects/{project}/images/{image=**}", "/v1/projects/p/images", null)]
    public void A_path_matches_or_does_not(string template, string path, string? expected)
    {
        var values = PathTemplate.Parse(template).Match(path);

        Assert.Equal(expected, values is null ? null : string.Join(';', values.Select(value => $"{value.Field}={value.Value}")));
    }

    [Theory]
    [InlineData("v1/nodes")]
    [InlineData("/v1/{a=**}/b")]
    [InlineData("/v1/{a=b*}")]
    [InlineData("/v1/{a")]
    [InlineData("/v1//a")]
    [InlineData("/v1/{a}/{b}")]
    public void What_is_no_template_is_refused_at_start(string template) =>
        Assert.Throws<FormatException>(() => PathTemplate.Parse(template));
}
