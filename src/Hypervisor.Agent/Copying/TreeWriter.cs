using System.Runtime.InteropServices;
using System.Text;
using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Streams;
using Hypervisor.Hosting.Randomness;
using Hypervisor.Protocol.V1;
using Microsoft.Win32.SafeHandles;

namespace Hypervisor.Agent.Copying;

/// <summary>
/// Writes a file or folder into an instance. The place itself is found through links, inside the instance's root; below it each name is
/// one step into a folder that is no link. A file appears under its name when all of it is there.
/// </summary>
internal sealed class TreeWriter : IDisposable
{
    private const UnixFileMode All = (UnixFileMode)0xFFF;

    private readonly SafeFileHandle _base;
    private readonly string _name;
    private readonly IRandomSource _random;
    private readonly List<(string Path, FileEntry Entry)> _folders = [];
    private (SafeFileHandle Folder, SafeFileHandle File, string? Temporary, string Name, FileEntry Entry)? _file;
    private long _written;

    /// <param name="place">Absolute path in the instance; see <see cref="CopyToHeader"/>.</param>
    /// <param name="name">What it is called inside a folder that is there already.</param>
    /// <exception cref="DriverException">PathNotFound, PathInvalid.</exception>
    public TreeWriter(RootDirectory root, string place, string name, IRandomSource random)
    {
        CheckName(name);
        _random = random;
        var found = root.Find(place);
        if (found is not null && FileCalls.Status((int)found.DangerousGetHandle()).Kind == FileCalls.Folder)
        {
            (_base, _name) = (found, name);
            return;
        }

        // A file to replace, or a new name in a folder that has to be there.
        found?.Dispose();
        var trimmed = place.TrimEnd('/');
        var slash = trimmed.LastIndexOf('/');
        _name = trimmed[(slash + 1)..];
        CheckName(_name);
        var parent = place.EndsWith('/') ? null : root.Find(slash == 0 ? "/" : trimmed[..slash]);
        _base = parent is not null && FileCalls.Status((int)parent.DangerousGetHandle()).Kind == FileCalls.Folder
            ? parent
            : throw new DriverException(
                "PathNotFound",
                $"path: there is no folder \"{RootDirectory.Shown(place.EndsWith('/') ? place : trimmed[..slash])}\" in the instance",
                permanent: true);
    }

    public long Entries { get; private set; }

    public long Bytes { get; private set; }

    /// <exception cref="DriverException">EntryInvalid, CopyTooLarge.</exception>
    /// <exception cref="IOException">The file system refuses.</exception>
    public void Add(FileEntry entry)
    {
        Finish();
        if (++Entries > StreamLimits.CopyEntries)
        {
            throw new DriverException("CopyTooLarge", $"at most {StreamLimits.CopyEntries} entries are copied at once", permanent: true);
        }

        if ((entry.Mode & ~(int)All) != 0 || entry.SizeBytes < 0 || (entry.Kind != FileKind.File && entry.SizeBytes != 0))
        {
            throw Invalid(entry, "its mode or size is out of range");
        }

        string[] names = entry.Path.Length == 0 ? [_name] : [_name, .. entry.Path.Split('/')];
        if (names.Length > StreamLimits.CopyDepth || Encoding.UTF8.GetByteCount(entry.Path) > StreamLimits.PathBytes)
        {
            throw Invalid(entry, "it is too long or too deep");
        }

        foreach (var step in names)
        {
            CheckName(step);
        }

        var folder = Parent(names);
        switch (entry.Kind)
        {
            case FileKind.Directory:
                using (folder)
                {
                    MakeFolder(folder, names, entry);
                }

                break;
            case FileKind.Symlink:
                using (folder)
                {
                    MakeLink(folder, names[^1], entry);
                }

                break;
            case FileKind.File:
                Begin(folder, names[^1], entry);
                break;
            default:
                folder.Dispose();
                throw Invalid(entry, "only files, folders and symbolic links are copied");
        }
    }

    public void Write(ReadOnlySpan<byte> data)
    {
        if (_file is not { } file || _written + data.Length > file.Entry.SizeBytes)
        {
            throw new DriverException("EntryInvalid", "more content was sent than the entry announced", permanent: true);
        }

        RandomAccess.Write(file.File, data, _written);
        _written += data.Length;
        Bytes += data.Length;
    }

    /// <summary>Everything is there: gives folders their mode and time, which writing into them has changed.</summary>
    public void Complete()
    {
        Finish();
        foreach (var (path, entry) in Enumerable.Reverse(_folders))
        {
            using var folder = Descend(path.Split('/'));
            Apply(folder, entry);
        }
    }

    public void Dispose()
    {
        if (_file is { } file)
        {
            if (file.Temporary is { } temporary)
            {
                _ = FileCalls.Unlink(Of(file.Folder), temporary, 0);
            }

            file.File.Dispose();
            file.Folder.Dispose();
            _file = null;
        }

        _base.Dispose();
    }

    private static int Of(SafeFileHandle handle) => (int)handle.DangerousGetHandle();

    private static DriverException Invalid(FileEntry entry, string why) =>
        new("EntryInvalid", $"entry \"{RootDirectory.Shown(entry.Path)}\": {why}", permanent: true);

    private static void CheckName(string name)
    {
        if (name.Length == 0 || name is "." or ".." || name.Contains('/', StringComparison.Ordinal) || name.Contains('\0', StringComparison.Ordinal)
            || Encoding.UTF8.GetByteCount(name) > 255)
        {
            throw new DriverException("EntryInvalid", $"\"{RootDirectory.Shown(name)}\" is not a file name", permanent: true);
        }
    }

    private static void Apply(SafeFileHandle handle, FileEntry entry)
    {
        // The owner first: changing it takes set-user-id bits away.
        FileCalls.Check(FileCalls.ChangeOwner(Of(handle), entry.UserId, entry.GroupId), "chown");
        FileCalls.Check(FileCalls.ChangeMode(Of(handle), (uint)entry.Mode), "chmod");
        if (entry.ModifiedAt is { } modified)
        {
            FileCalls.SetTimes(Of(handle), modified.ToDateTimeOffset());
        }
    }

    private SafeFileHandle Parent(string[] names) => Descend(names[..^1]);

    private SafeFileHandle Descend(string[] names)
    {
        var path = names.Length == 0 ? "." : string.Join('/', names);
        var descriptor = FileCalls.Open(Of(_base), path, FileCalls.OReadOnly | FileCalls.ODirectory, FileCalls.Beneath);
        if (descriptor < 0)
        {
            throw new DriverException(
                "EntryInvalid",
                $"\"{RootDirectory.Shown(path)}\" is no folder that can be written into: {FileCalls.Failure("open").Message}",
                permanent: true);
        }

        var folder = new SafeFileHandle(descriptor, ownsHandle: true);
        if (RootDirectory.IsOfKernel(folder))
        {
            folder.Dispose();
            throw RootDirectory.Invalid(path, "it is in one of the kernel's own file systems");
        }

        return folder;
    }

    private void MakeFolder(SafeFileHandle parent, string[] names, FileEntry entry)
    {
        const uint onlyOwner = 0x1C0;
        if (FileCalls.MakeFolder(Of(parent), names[^1], onlyOwner) != 0 && Marshal.GetLastPInvokeError() != FileCalls.Exists)
        {
            throw FileCalls.Failure($"mkdir {RootDirectory.Shown(names[^1])}");
        }

        // Also when it was there already: that it is a folder, and no link to one.
        Descend(names).Dispose();
        _folders.Add((string.Join('/', names), entry));
    }

    private void MakeLink(SafeFileHandle parent, string name, FileEntry entry)
    {
        if (entry.LinkTarget.Length == 0 || entry.LinkTarget.Contains('\0', StringComparison.Ordinal))
        {
            throw Invalid(entry, "a symbolic link needs a target");
        }

        var temporary = Temporary();
        FileCalls.Check(FileCalls.MakeLink(entry.LinkTarget, Of(parent), temporary), "symlink");
        if (FileCalls.OwnLink(Of(parent), temporary, entry.UserId, entry.GroupId) != 0 || FileCalls.Rename(Of(parent), temporary, name) != 0)
        {
            var failure = FileCalls.Failure($"symlink {RootDirectory.Shown(name)}");
            _ = FileCalls.Unlink(Of(parent), temporary, 0);
            throw failure;
        }
    }

    private void Begin(SafeFileHandle parent, string name, FileEntry entry)
    {
        const ulong onlyOwner = 0x180;
        // Without a name nothing stays behind of it, whenever the agent is killed; not every file system can (overlayfs since Linux 6.3).
        string? temporary = null;
        var descriptor = FileCalls.Open(Of(parent), ".", FileCalls.OWriteOnly | FileCalls.OTemporary, FileCalls.Beneath, onlyOwner);
        if (descriptor < 0 && Marshal.GetLastPInvokeError() is FileCalls.NotSupported or FileCalls.IsFolder)
        {
            temporary = Temporary();
            descriptor = FileCalls.Open(
                Of(parent), temporary, FileCalls.OWriteOnly | FileCalls.OCreate | FileCalls.OExclusive | FileCalls.ONoFollow, FileCalls.Beneath, onlyOwner);
        }

        if (descriptor < 0)
        {
            var failure = FileCalls.Failure($"create {RootDirectory.Shown(name)}");
            parent.Dispose();
            throw failure;
        }

        _file = (parent, new SafeFileHandle(descriptor, ownsHandle: true), temporary, name, entry);
        _written = 0;
    }

    private void Finish()
    {
        if (_file is not { } file)
        {
            return;
        }

        if (_written != file.Entry.SizeBytes)
        {
            throw Invalid(file.Entry, $"{_written} of {file.Entry.SizeBytes} bytes were sent");
        }

        Apply(file.File, file.Entry);
        if (file.Temporary is null)
        {
            file.Temporary = Temporary();
            FileCalls.Check(FileCalls.GiveName(Of(file.File), Of(file.Folder), file.Temporary), $"link {RootDirectory.Shown(file.Name)}");
            _file = file;
        }

        FileCalls.Check(FileCalls.Rename(Of(file.Folder), file.Temporary, file.Name), $"rename to {RootDirectory.Shown(file.Name)}");
        file.File.Dispose();
        file.Folder.Dispose();
        _file = null;
    }

    private string Temporary() => ".hypervisor-copy-" + _random.NewUid();
}
