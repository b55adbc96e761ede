using Grpc.Core;
using Hypervisor.Hosting.Registries;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Errors;
using Hypervisor.Server.Configuration;
using Hypervisor.Server.Images.Downloads;
using Hypervisor.Server.Images.Registries;

namespace Hypervisor.Server.Images.Aliases;

/// <summary>
/// Imports the disk images of aliases when they are first needed: once for all who wait, and to its end although those who wait
/// ask again and again.
/// </summary>
internal sealed class AliasImports(ImageAliases aliases, UrlImports imports, ImageDownloads downloads, TimeProvider time) : IDisposable
{
    private readonly Lock _lock = new();

    /// <summary>By project and image: as many as there are places for imports.</summary>
    private readonly Dictionary<(string Project, string Image), (Task Work, PullProgress Progress)> _running = [];
    private readonly CancellationTokenSource _stopping = new();

    /// <inheritdoc cref="ImageAliases.DiskOf"/>
    public AliasDisk? DiskOf(ImageReference reference) => aliases.DiskOf(reference);

    /// <inheritdoc cref="ImageAliases.Resolve"/>
    public string Resolve(string written) => aliases.Resolve(written, InstanceType.Unspecified);

    /// <summary>Returns when the image is in the catalogue.</summary>
    /// <exception cref="RpcException">UNAVAILABLE while it is on its way; what came in its way.</exception>
    public async Task EnsureAsync(string project, AliasDisk disk, CancellationToken cancellationToken)
    {
        var (work, progress) = Begin(project, disk);
        try
        {
            await work.WaitAsync(Limits.Disks.AliasAnswer, time, cancellationToken);
        }
        catch (TimeoutException)
        {
            var now = progress.Shown(null);
            throw ApiErrors.Unavailable(
                $"Image {disk.Image} is being imported ({now.BytesDone >> 20} of {now.BytesTotal >> 20} MiB from {disk.Url.Authority}); this is waited for.",
                Limits.Images.RetryImport);
        }
    }

    /// <summary>One import, with its listener: it ends when that goes.</summary>
    /// <exception cref="RpcException"/>
    public async Task<Image> ImportAsync(string project, AliasDisk disk, PullProgress progress, CancellationToken cancellationToken)
    {
        var checksum = disk.Checksum;
        if (disk.Checksums is { } list)
        {
            progress.Status = $"asking {list.Authority} for checksums";
            try
            {
                checksum = Find(await downloads.ReadTextAsync(list, cancellationToken), disk.Url);
            }
            catch (RegistryException exception)
            {
                throw RegistryErrors.Translate(exception, disk.Image.ToString());
            }
        }

        var header = new ImportImageHeader
        {
            Project = project,
            Name = disk.Image.ToString(),
            Format = disk.Format,
            Checksum = checksum,
            DefaultUser = disk.DefaultUser,
            OperatingSystem = disk.OperatingSystem,
        };
        return await imports.ImportAsync(header, disk.Url, progress, cancellationToken);
    }

    public void Dispose()
    {
        _stopping.Cancel();
        _stopping.Dispose();
    }

    /// <summary>Lines as sha256sum writes them, "CHECKSUM  NAME" or "CHECKSUM *NAME", or one checksum alone.</summary>
    internal static string Find(string list, Uri file)
    {
        var name = Uri.UnescapeDataString(file.Segments[^1]);
        var lines = list.Split('\n').Select(line => line.Trim()).Where(line => line.Length > 0).Select(line => line.Split(' ', 2)).ToList();
        var found = lines.FirstOrDefault(parts => parts.Length == 2 && parts[1].TrimStart(' ', '*') is var named && (named == name || named == "./" + name))
            ?? (lines is [{ Length: 1 } alone] ? alone : null);
        var checksum = found is null ? "" : $"{(found[0].Length == 128 ? "sha512" : "sha256")}:{found[0]}";
        return ContentChecksum.TryParse(checksum, out var parsed)
            ? parsed.ToString()
            : throw RegistryErrors.Invalid($"The checksums of alias image {Hosting.Yaml.DisplayText.Of(name)} do not list it; correct checksums in the server's file of aliases.", name);
    }

    private (Task Work, PullProgress Progress) Begin(string project, AliasDisk disk)
    {
        var key = (project, disk.Image.ToString());
        lock (_lock)
        {
            if (!_running.TryGetValue(key, out var running))
            {
                var progress = new PullProgress();
                running = (RunAsync(key, disk, progress, _stopping.Token), progress);
                _running.Add(key, running);
            }

            return running;
        }
    }

    private async Task RunAsync((string Project, string Image) key, AliasDisk disk, PullProgress progress, CancellationToken stopping)
    {
        // The caller holds the lock: the work itself begins outside it.
        await Task.Yield();
        try
        {
            await ImportAsync(key.Project, disk, progress, stopping);
        }
        finally
        {
            lock (_lock)
            {
                _running.Remove(key);
            }
        }
    }
}
