using System.Globalization;

namespace Hypervisor.Agent.Logs;

/// <summary>The log files of one instance: each is named by the sequence number of its first line.</summary>
internal sealed class LogFolder(string directory)
{
    private const string Extension = ".log";
    private const UnixFileMode OnlyRoot = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute;

    public string PathOf(long first) => Path.Combine(directory, first.ToString("D20", CultureInfo.InvariantCulture) + Extension);

    /// <summary>First lines, oldest first. Empty when there is no folder.</summary>
    public IReadOnlyList<long> List()
    {
        try
        {
            return [.. Directory.EnumerateFiles(directory, "*" + Extension)
                .Select(path => long.TryParse(Path.GetFileNameWithoutExtension(path), NumberStyles.None, CultureInfo.InvariantCulture, out var first) ? first : -1)
                .Where(first => first >= 0)
                .Order()];
        }
        catch (DirectoryNotFoundException)
        {
            return [];
        }
    }

    public void Create() => Directory.CreateDirectory(directory, OnlyRoot);

    /// <summary>Removes the oldest files until at most <paramref name="files"/> are left.</summary>
    public void Trim(int files)
    {
        var present = List();
        foreach (var first in present.Take(present.Count - files))
        {
            File.Delete(PathOf(first));
        }
    }

    public void Remove()
    {
        if (Directory.Exists(directory))
        {
            Directory.Delete(directory, recursive: true);
        }
    }
}
