namespace Hypervisor.Server.Images.Archives;

/// <summary>
/// Images of a docker save archive without an OCI layout in it (Docker before 25, skopeo docker-archive): manifest.json names
/// configuration and layers by path. (moby, image/spec/v1.2.md, "Combined Image JSON + Filesystem Changeset Format".)
/// </summary>
internal static class DockerSaveReader
{
    public static bool Applies(SpooledArchive archive) => archive.Contains("manifest.json");

    /// <exception cref="InvalidImageException"/>
    public static IReadOnlyList<ArchiveImage> Read(SpooledArchive archive)
    {
        var entries = OciJson.Parse(archive.ReadSmall("manifest.json")!, OciJson.Default.IReadOnlyListDockerSaveImage, "manifest.json");
        if (entries.Count > Limits.Images.Manifests)
        {
            throw new InvalidImageException($"manifest.json has {entries.Count} images; at most {Limits.Images.Manifests}.");
        }

        return [.. entries.Select(entry => new ArchiveImage(
            [.. (entry?.RepoTags ?? []).OfType<string>()],
            Manifest: null,
            Blob(archive, entry?.Config, "configuration"),
            [.. (entry?.Layers ?? []).Select(layer => Blob(archive, layer, "layer"))]))];
    }

    private static ArchiveBlob Blob(SpooledArchive archive, string? path, string kind)
    {
        var normal = ArchivePath.Normalise(path ?? "", $"manifest.json: {kind}");
        using var content = archive.Open(normal) ?? throw new InvalidImageException($"manifest.json names the {kind} \"{ArchivePath.Show(normal)}\", which is not in the archive.");

        // "<digest>.json" and "blobs/sha256/<digest>" promise their content; older layers are named by something else.
        var name = normal[(normal.LastIndexOf('/') + 1)..];
        var promised = kind == "configuration" || normal.StartsWith("blobs/sha256/", StringComparison.Ordinal);
        return new ArchiveBlob(normal, promised && ImageDigest.TryParse("sha256:" + name.Split('.')[0], out var digest) ? digest : null, null);
    }
}
