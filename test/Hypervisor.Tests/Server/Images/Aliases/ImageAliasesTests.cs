using Grpc.Core;
using Hypervisor.Hosting.Configuration;
using Hypervisor.Hosting.Randomness;
using Hypervisor.Hosting.Registries;
using Hypervisor.Hosting.Yaml;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Configuration;
using Hypervisor.Server.Images.Aliases;
using Hypervisor.Server.Images.Downloads;
using Hypervisor.Server.Images.Registries;
using Hypervisor.Tests.Server.Images.Disks;
using Hypervisor.Tests.Server.Images.Downloads;
using Xunit;

namespace Hypervisor.Tests.Server.Images.Aliases;

/// <summary>Protects: a short name means what the operator's file says, to each type, and brings it once.</summary>
public sealed class ImageAliasesTests : IAsyncLifetime
{
    private readonly byte[] _disk = DiskFiles.Qcow2();
    private CatalogueWorld _world = null!;
    private FileServer _files = null!;
    private ImageDownloads _downloads = null!;
    private RegistryClient _client = null!;

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    public async ValueTask InitializeAsync()
    {
        _world = await CatalogueWorld.StartAsync();
        _files = await FileServer.StartAsync();
        _client = new RegistryClient(RealClock.Instance, new SystemRandomSource());
        _downloads = new ImageDownloads([new RegistryHost(_files.Authority) { Trusted = true }], RealClock.Instance);
        _files.AddFile("/disk.qcow2", _disk);
        _files.AddFile("/SHA256SUMS", System.Text.Encoding.UTF8.GetBytes(
            $"{new string('0', 64)}  other.qcow2\n{ImageArchives.Hex(_disk)} *disk.qcow2\n"));
    }

    public async ValueTask DisposeAsync()
    {
        _client.Dispose();
        _downloads.Dispose();
        await _files.DisposeAsync();
        await _world.DisposeAsync();
    }

    [Fact]
    public void A_bare_name_means_another_image_to_each_type_and_any_other_spelling_means_itself()
    {
        var aliases = new ImageAliases(Load());

        Assert.Equal("tiny:cloud", aliases.Resolve("tiny", InstanceType.Vm));
        Assert.Equal("registry.example/tiny:2", aliases.Resolve("tiny", InstanceType.Container));
        Assert.Equal("registry.example/tiny:2", aliases.Resolve("tiny", InstanceType.Microvm));
        Assert.Equal("tiny:latest", aliases.Resolve("tiny:latest", InstanceType.Vm));
        Assert.Equal("plain:latest", aliases.Resolve("plain", InstanceType.Vm));
        Assert.Equal("unknown", aliases.Resolve("unknown", InstanceType.Vm));
    }

    [Fact]
    public async Task The_image_of_an_alias_is_imported_once_for_all_who_need_it()
    {
        using var imports = Imports();
        using var resolution = Resolution(imports);
        var request = new ResolveImageRequest { Image = "tiny:cloud" };
        var answers = await Task.WhenAll(Enumerable.Range(0, 5).Select(_ => resolution.ResolveAsync(request, Cancel)));

        Assert.All(answers, answer => Assert.Equal((answers[0].Digest, ImageFormat.Qcow2, true, null), (answer.Digest, answer.Format, answer.Stored, answer.Source)));
        Assert.Equal(1, _files.Requests.Count(asked => asked.Path == "/disk.qcow2"));
        var image = await _world.Catalogue.GetAsync(new GetImageRequest { Image = "tiny:cloud" }, Cancel);
        Assert.Equal((answers[0].Digest, "tiny"), (image.Digest, image.DefaultUser));

        var pinned = await resolution.ResolveAsync(new ResolveImageRequest { Image = "other:1", Digest = image.Digest }, Cancel);
        Assert.Equal((ImageFormat.Qcow2, true), (pinned.Format, pinned.Stored));
    }

    [Fact]
    public async Task A_list_of_checksums_that_does_not_have_the_file_brings_nothing()
    {
        _files.AddFile("/SHA256SUMS", "nothing"u8.ToArray());
        using var imports = Imports();
        using var resolution = Resolution(imports);
        var refusal = await Assert.ThrowsAsync<RpcException>(() => resolution.ResolveAsync(new ResolveImageRequest { Image = "tiny:cloud" }, Cancel));

        Assert.Equal(StatusCode.DataLoss, refusal.StatusCode);
        Assert.DoesNotContain(_files.Requests, asked => asked.Path == "/disk.qcow2");
        Assert.Empty(_world.Files);
    }

    [Fact]
    public async Task Checksums_are_believed_only_when_they_could_not_be_changed_on_the_way()
    {
        using var strangers = new ImageDownloads([], RealClock.Instance);
        var refusal = await Assert.ThrowsAsync<RegistryException>(() => strangers.ReadTextAsync(new Uri("http://192.0.2.1/SHA256SUMS"), Cancel));

        Assert.Equal(RegistryFailure.Refused, refusal.Failure);
        Assert.Contains("without encryption", refusal.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("- oci: a", "is missing – write the short name")]
    [InlineData("- name: a:1", "is not a short name")]
    [InlineData("- name: a\n- name: a", "repeats an alias")]
    [InlineData("- name: a\n  oci: A", "aliases[0].oci: is not the name of an image")]
    [InlineData("- name: a\n  disk: {url: 'file:///etc/passwd', checksum: 'sha256:00'}", "is not a web address")]
    [InlineData("- name: a\n  disk: {url: 'https://h/f', checksum: 'sha256:00'}", "is not a checksum")]
    [InlineData("- name: a\n  disk: {url: 'https://h/f'}", "is missing – give the image's checksum")]
    [InlineData("- name: a\n  disk: {checksums: 'https://h/f'}", "is missing – write where")]
    [InlineData("- name: a\n  disk: {url: 'https://h/f', checksums: 'https://h/s', format: vmdk}", "format")]
    [InlineData("- name: a\n  speed: 3", "speed")]
    public void A_file_that_is_wrong_says_where(string file, string expected)
    {
        var exception = Assert.Throws<ConfigurationException>(() => ImageAliasesLoader.Parse(YamlDocument.Load("aliases:\n" + file, "a.yaml")));
        Assert.Contains(expected, string.Join('\n', exception.Errors), StringComparison.Ordinal);
    }

    [Fact]
    public void The_file_that_is_shipped_is_right()
    {
        var folder = new DirectoryInfo(AppContext.BaseDirectory);
        while (!File.Exists(Path.Combine(folder.FullName, "Hypervisor.slnx")))
        {
            folder = folder.Parent!;
        }

        var aliases = ImageAliasesLoader.Parse(YamlDocument.LoadFile(Path.Combine(folder.FullName, "configs", "image-aliases.yaml")));
        Assert.Equal(["ubuntu", "debian", "alpine"], aliases.Select(alias => alias.Name));
        Assert.All(aliases, alias => Assert.Equal(("docker.io", $"library/{alias.Name}"), (alias.Oci.Registry, alias.Oci.Repository)));
        Assert.All(aliases, alias => Assert.Equal("https", alias.Disk!.Url.Scheme));
    }

    private IReadOnlyList<ImageAlias> Load() => ImageAliasesLoader.Parse(YamlDocument.Load(
        $"""
        aliases:
          - name: tiny
            oci: registry.example/tiny:2
            disk:
              url: {_files["/disk.qcow2"]}
              checksums: {_files["/SHA256SUMS"]}
              user: tiny
          - name: plain
        """,
        "aliases.yaml"));

    private AliasImports Imports()
    {
        var imports = new UrlImports(_world.Catalogue, _downloads, _world.Blobs, _world.Limits, RealClock.Instance);
        return new AliasImports(new ImageAliases(Load()), imports, _downloads, RealClock.Instance);
    }

    private ImageResolution Resolution(AliasImports imports) => new(
        _world.Plane.Reads, _world.Blobs, _world.Records, new RemoteImages(_client, _world.Limits), new RegistryDirectory([]), _world.Limits,
        RealClock.Instance, imports);
}
