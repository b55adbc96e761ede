using Hypervisor.Ctl.Errors;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Ctl.Copying;

/// <summary>
/// Writes the entries of a copy below one local path and nowhere else, whatever they say: each name is one step, only into folders that
/// this copy has made or found to be no link, and a file appears by being renamed into place.
/// </summary>
internal sealed class LocalWriter : IDisposable
{
    private const int AllBits = 0xFFF;
    private const int WithoutSetId = 0x1FF;

    private readonly string _target;
    private readonly HashSet<string> _folders = new(StringComparer.Ordinal);
    private readonly List<(string Path, FileEntry Entry)> _finished = [];
    private (FileStream Stream, string Temporary, string Path, FileEntry Entry)? _file;

    /// <param name="place">As typed: a folder that is there takes the copy under <paramref name="name"/>, anything else is what it becomes.</param>
    public LocalWriter(string place, string name)
    {
        var full = Path.GetFullPath(place);
        if (Directory.Exists(full))
        {
            _target = Path.Combine(full, IsName(name) ? name : throw Refused(name));
        }
        else
        {
            _target = Path.TrimEndingDirectorySeparator(full);
            if (!Directory.Exists(Path.GetDirectoryName(_target)))
            {
                throw CtlException.Usage($"There is no folder '{Path.GetDirectoryName(_target)}' here.");
            }
        }
    }

    public long Bytes { get; private set; }

    public void Add(FileEntry entry)
    {
        Finish();
        string[] names = entry.Path.Length == 0 ? [] : entry.Path.Split('/');
        if (!names.All(IsName) || (names.Length > 0 && !_folders.Contains(string.Join('/', names[..^1]))) || _folders.Contains(entry.Path)
            || (entry.Mode & ~AllBits) != 0 || entry.SizeBytes < 0)
        {
            throw Refused(entry.Path);
        }

        var path = names.Length == 0 ? _target : Path.Combine([_target, .. names]);
        switch (entry.Kind)
        {
            case FileKind.Directory:
                Directory.CreateDirectory(path);
                if (new DirectoryInfo(path).LinkTarget is not null)
                {
                    throw new CtlException(ExitCode.Refused, $"'{path}' is a link here; nothing is written through it.", "Remove it, or copy to another place.");
                }

                _folders.Add(entry.Path);
                _finished.Add((path, entry));
                break;
            case FileKind.Symlink:
                var link = TemporaryBeside(path);
                File.CreateSymbolicLink(link, entry.LinkTarget);
                Own(link, entry);
                LocalFile.Rename(link, path);
                break;
            case FileKind.File:
                var temporary = TemporaryBeside(path);
                var options = new FileStreamOptions
                {
                    Mode = FileMode.CreateNew,
                    Access = FileAccess.Write,
                    UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite,
                };
                _file = (new FileStream(temporary, options), temporary, path, entry);
                break;
            default:
                throw Refused(entry.Path);
        }
    }

    public void Write(ReadOnlySpan<byte> data)
    {
        if (_file is not { } file || file.Stream.Position + data.Length > file.Entry.SizeBytes)
        {
            throw new CtlException(ExitCode.Refused, "The server sent more content than it announced.");
        }

        file.Stream.Write(data);
        Bytes += data.Length;
    }

    public void Complete()
    {
        Finish();
        foreach (var (path, entry) in Enumerable.Reverse(_finished))
        {
            Apply(path, entry);
        }
    }

    public void Dispose()
    {
        if (_file is { } file)
        {
            file.Stream.Dispose();
            File.Delete(file.Temporary);
            _file = null;
        }
    }

    private static bool IsName(string name) => name.Length is > 0 and <= 255 && name is not ("." or "..") && name.IndexOfAny(['/', '\0']) < 0;

    private static string TemporaryBeside(string path)
    {
        var temporary = Path.Combine(Path.GetDirectoryName(path)!, ".hypervisor-copy-" + Path.GetFileName(path));
        File.Delete(temporary);
        return temporary;
    }

    private static CtlException Refused(string path) =>
        new(ExitCode.Refused, $"The server sent an entry '{path}' that does not belong into this copy; it is refused.");

    private static void Own(string path, FileEntry entry)
    {
        if (LocalFile.IsRoot)
        {
            LocalFile.SetOwner(path, entry.UserId, entry.GroupId);
        }
    }

    private static void Apply(string path, FileEntry entry)
    {
        Own(path, entry);
        // Owned by another than in the instance, a program must not run as its owner.
        File.SetUnixFileMode(path, (UnixFileMode)(LocalFile.IsRoot ? entry.Mode : entry.Mode & WithoutSetId));
        if (entry.ModifiedAt is { } modified)
        {
            File.SetLastWriteTimeUtc(path, modified.ToDateTime());
        }
    }

    private void Finish()
    {
        if (_file is not { } file)
        {
            return;
        }

        if (file.Stream.Position != file.Entry.SizeBytes)
        {
            throw new CtlException(ExitCode.Refused, $"The server sent {file.Stream.Position} of {file.Entry.SizeBytes} bytes of '{file.Entry.Path}'.");
        }

        file.Stream.Dispose();
        Apply(file.Temporary, file.Entry);
        LocalFile.Rename(file.Temporary, file.Path);
        _file = null;
    }
}
