using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Hypervisor.Ctl.Errors;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Ctl.Copying;

/// <summary>A local file or folder as the entries of a copy. A link named on the command line is followed, links below are copied as such.</summary>
internal static class LocalReader
{
    public static IEnumerable<CopyToRequest> Read(string path)
    {
        if (!Path.Exists(path))
        {
            throw CtlException.Usage($"There is no file or folder '{path}' here.");
        }

        var start = File.ResolveLinkTarget(path, returnFinalTarget: true)?.FullName ?? Path.GetFullPath(path);
        return Below(start, "");
    }

    private static IEnumerable<CopyToRequest> Below(string path, string relative)
    {
        FileSystemInfo info = Directory.Exists(path) && new DirectoryInfo(path).LinkTarget is null ? new DirectoryInfo(path) : new FileInfo(path);
        var (user, group) = LocalFile.OwnerOf(path);
        var entry = new FileEntry
        {
            Path = relative,
            Kind = info.LinkTarget is not null ? FileKind.Symlink : info is DirectoryInfo ? FileKind.Directory : FileKind.File,
            Mode = (int)info.UnixFileMode,
            UserId = user,
            GroupId = group,
            ModifiedAt = Timestamp.FromDateTime(info.LastWriteTimeUtc),
            LinkTarget = info.LinkTarget ?? "",
        };
        switch (entry.Kind)
        {
            case FileKind.File when !IsRegular(info):
                yield break;
            case FileKind.File:
                foreach (var request in Content(path, entry))
                {
                    yield return request;
                }

                break;
            default:
                yield return new CopyToRequest { Entry = entry };
                break;
        }

        foreach (var name in entry.Kind == FileKind.Directory ? Names(path) : [])
        {
            foreach (var request in Below(Path.Combine(path, name), relative.Length == 0 ? name : $"{relative}/{name}"))
            {
                yield return request;
            }
        }
    }

    /// <summary>Pipes, sockets and devices are left out.</summary>
    private static bool IsRegular(FileSystemInfo info) => (info.Attributes & FileAttributes.Device) == 0 && info is FileInfo { Exists: true };

    private static IEnumerable<string> Names(string path) => Directory.EnumerateFileSystemEntries(path).Select(entry => Path.GetFileName(entry)!).Order(StringComparer.Ordinal);

    private static IEnumerable<CopyToRequest> Content(string path, FileEntry entry)
    {
        using var file = File.OpenRead(path);
        entry.SizeBytes = file.Length;
        yield return new CopyToRequest { Entry = entry };
        for (var left = entry.SizeBytes; left > 0;)
        {
            var buffer = new byte[(int)Math.Min(Limits.CopyChunkBytes, left)];
            var read = file.ReadAtLeast(buffer, buffer.Length, throwOnEndOfStream: false);
            if (read < buffer.Length)
            {
                throw new CtlException(ExitCode.Refused, $"'{path}' became shorter while it was read.");
            }

            left -= read;
            yield return new CopyToRequest { Data = UnsafeByteOperations.UnsafeWrap(buffer) };
        }
    }
}
