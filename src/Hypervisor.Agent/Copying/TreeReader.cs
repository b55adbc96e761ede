using System.Runtime.CompilerServices;
using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Streams;
using Hypervisor.Protocol.V1;
using Microsoft.Win32.SafeHandles;

namespace Hypervisor.Agent.Copying;

/// <summary>Reads a file or folder with everything below, each folder before what is in it. Devices, pipes and sockets are left out.</summary>
/// <remarks>Files may change while they are read: exactly the announced size is sent, cut off or filled up with zeros.</remarks>
internal static class TreeReader
{
    /// <exception cref="DriverException">PathNotFound, PathInvalid, CopyTooLarge.</exception>
    public static async IAsyncEnumerable<CopyPart> ReadAsync(
        RootDirectory root, string path, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        var start = root.Find(path) ?? throw new DriverException(
            "PathNotFound", $"path: \"{RootDirectory.Shown(path)}\" does not exist in the instance", permanent: true);
        var open = new Stack<(SafeFileHandle Folder, string Path, Queue<string> Names)>();
        var entries = 0;
        try
        {
            (SafeFileHandle Handle, string Path)? next = (start, "");
            while (next is { } current)
            {
                if (++entries > StreamLimits.CopyEntries || open.Count > StreamLimits.CopyDepth)
                {
                    current.Handle.Dispose();
                    throw new DriverException(
                        "CopyTooLarge",
                        $"at most {StreamLimits.CopyEntries} entries, {StreamLimits.CopyDepth} folders deep, are copied at once",
                        permanent: true);
                }

                var status = FileCalls.Status((int)current.Handle.DangerousGetHandle());
                if (Describe(current.Handle, current.Path, status) is { } entry)
                {
                    yield return new CopyPart { Entry = entry };
                }

                if (status.Kind == FileCalls.Folder)
                {
                    open.Push((current.Handle, current.Path, RootDirectory.IsOfKernel(current.Handle) ? [] : Names(current.Handle)));
                }
                else
                {
                    using (current.Handle)
                    {
                        if (status.Kind == FileCalls.RegularFile)
                        {
                            foreach (var data in Content(current.Handle, status.Size))
                            {
                                cancellationToken.ThrowIfCancellationRequested();
                                yield return new CopyPart { Data = data };
                            }
                        }
                    }
                }

                next = Advance(open);
            }
        }
        finally
        {
            foreach (var (folder, _, _) in open)
            {
                folder.Dispose();
            }
        }
    }

    private static (SafeFileHandle Handle, string Path)? Advance(Stack<(SafeFileHandle Folder, string Path, Queue<string> Names)> open)
    {
        while (open.TryPeek(out var top))
        {
            while (top.Names.TryDequeue(out var name))
            {
                // Not through a link, should the name have become one.
                var descriptor = FileCalls.Open(
                    (int)top.Folder.DangerousGetHandle(), name, FileCalls.OPath | FileCalls.ONoFollow, FileCalls.Beneath);
                if (descriptor >= 0)
                {
                    return (new SafeFileHandle(descriptor, ownsHandle: true), top.Path.Length == 0 ? name : $"{top.Path}/{name}");
                }
            }

            top.Folder.Dispose();
            open.Pop();
        }

        return null;
    }

    private static Queue<string> Names(SafeFileHandle folder) =>
        new(Directory.EnumerateFileSystemEntries(RootDirectory.PathOf(folder)).Select(path => Path.GetFileName(path)!).Order(StringComparer.Ordinal));

    private static FileEntry? Describe(SafeFileHandle handle, string path, FileStatus status)
    {
        var kind = status.Kind switch
        {
            FileCalls.RegularFile => FileKind.File,
            FileCalls.Folder => FileKind.Directory,
            FileCalls.Link => FileKind.Symlink,
            _ => FileKind.Unspecified,
        };
        return kind == FileKind.Unspecified
            ? null
            : new FileEntry
            {
                Path = path,
                Kind = kind,
                Mode = status.Mode,
                UserId = status.UserId,
                GroupId = status.GroupId,
                ModifiedAt = Timestamp.FromDateTimeOffset(status.Modified),
                SizeBytes = kind == FileKind.File ? status.Size : 0,
                LinkTarget = kind == FileKind.Symlink ? FileCalls.ReadLink((int)handle.DangerousGetHandle()) : "",
            };
    }

    private static IEnumerable<ByteString> Content(SafeFileHandle found, long size)
    {
        using var file = File.OpenHandle(RootDirectory.PathOf(found), FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
        for (var offset = 0L; offset < size;)
        {
            var buffer = new byte[(int)Math.Min(StreamLimits.CopyChunkBytes, size - offset)];
            var read = RandomAccess.Read(file, buffer, offset);
            // A file that has become shorter: zeros for the rest of what was announced.
            offset += read == 0 ? buffer.Length : read;
            yield return UnsafeByteOperations.UnsafeWrap(buffer.AsMemory(0, read == 0 ? buffer.Length : read));
        }
    }
}
