using System.Globalization;
using System.Runtime.InteropServices;
using Hypervisor.Protocol.V1;
using Microsoft.Win32.SafeHandles;

namespace Hypervisor.Agent.Logs;

/// <summary>
/// What the shims write: plain files, two per run, all in one folder, so that one watch tells of every write. A shim appends to a file
/// that is no pipe (containerd's pkg/process/io.go), so it neither waits for a reader nor loses anything while there is none.
/// </summary>
/// <remarks>What was taken in is given back to the file system by punching holes: a copy-and-truncate would lose what comes in between.</remarks>
internal sealed partial class RawFiles(string directory)
{
    private const int KeepSize = 1;
    private const int PunchHole = 2;
    private const int BlockBytes = 4096;
    private const UnixFileMode OnlyRoot = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute;
    private const UnixFileMode Private = UnixFileMode.UserRead | UnixFileMode.UserWrite;

    public string Directory => directory;

    public string PathOf(string uid, long run, LogStream stream) =>
        Path.Combine(directory, string.Create(CultureInfo.InvariantCulture, $"{uid}.{run}.{(stream == LogStream.Stderr ? "err" : "out")}"));

    public void CreateFolder() => System.IO.Directory.CreateDirectory(directory, OnlyRoot);

    /// <summary>The instance of a file's name, and its run.</summary>
    public static (string Uid, long Run)? Parse(ReadOnlySpan<char> name)
    {
        const int uid = 36;
        var end = name.LastIndexOf('.');
        return name.Length > uid && name[uid] == '.' && end > uid + 1 && Guid.TryParseExact(name[..uid], "D", out _)
            && long.TryParse(name[(uid + 1)..end], NumberStyles.None, CultureInfo.InvariantCulture, out var run)
            ? (name[..uid].ToString(), run)
            : null;
    }

    /// <summary>Every run that has a file.</summary>
    public ILookup<string, long> List() => (System.IO.Directory.Exists(directory) ? System.IO.Directory.EnumerateFiles(directory) : [])
        .Select(path => Parse(Path.GetFileName(path.AsSpan())))
        .Where(found => found is not null)
        .Select(found => found!.Value)
        .Distinct()
        .ToLookup(found => found.Uid, found => found.Run, StringComparer.Ordinal);

    public void Create(string uid, long run)
    {
        foreach (var stream in (ReadOnlySpan<LogStream>)[LogStream.Stdout, LogStream.Stderr])
        {
            File.OpenHandle(PathOf(uid, run, stream), FileMode.OpenOrCreate, FileAccess.Write, FileShare.ReadWrite | FileShare.Delete).Dispose();
            File.SetUnixFileMode(PathOf(uid, run, stream), Private);
        }
    }

    /// <summary>Null when there is none.</summary>
    public SafeFileHandle? Open(string uid, long run, LogStream stream)
    {
        try
        {
            return File.OpenHandle(PathOf(uid, run, stream), FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite | FileShare.Delete);
        }
        catch (FileNotFoundException)
        {
            return null;
        }
    }

    public void Delete(string uid, long run)
    {
        File.Delete(PathOf(uid, run, LogStream.Stdout));
        File.Delete(PathOf(uid, run, LogStream.Stderr));
    }

    /// <summary>Gives back the blocks before an offset. A file system that cannot keeps them until the run ends.</summary>
    /// <returns>Where the freed part ends.</returns>
    public static long Free(SafeFileHandle raw, long from, long to)
    {
        var end = to / BlockBytes * BlockBytes;
        return end > from && Allocate(raw, PunchHole | KeepSize, from, end - from) == 0 ? end : from;
    }

    /// <summary>The log is on the disk: only then may what it was made of be given back.</summary>
    public static void Sync(SafeFileHandle log)
    {
        if (DataSync(log) != 0)
        {
            throw new IOException($"fdatasync: {Marshal.GetLastPInvokeErrorMessage()}");
        }
    }

    [LibraryImport("libc", EntryPoint = "fallocate", SetLastError = true)]
    private static partial int Allocate(SafeFileHandle file, int mode, long offset, long length);

    [LibraryImport("libc", EntryPoint = "fdatasync", SetLastError = true)]
    private static partial int DataSync(SafeFileHandle file);
}
