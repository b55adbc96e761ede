using System.Globalization;
using System.Runtime.InteropServices;

namespace Hypervisor.Hosting.Memory;

/// <summary>The pages of program and libraries in memory: madvise(2), proc_pid_smaps(5).</summary>
/// <remarks>
/// Starting touches code and constants that are not needed again until the next start, and the kernel maps sixteen pages around
/// each that is. What is needed after all comes back from the page cache, by a fault of a microsecond or so.
/// </remarks>
internal static partial class FilePages
{
    private const int DontNeed = 4;

    /// <summary>Unmaps what is only read and equals its file. Does nothing where that cannot be told.</summary>
    public static void Release()
    {
        if (!File.Exists("/proc/self/smaps"))
        {
            return;
        }

        foreach (var (start, length) in ReadOnlyMappings(File.ReadLines("/proc/self/smaps")))
        {
            _ = Advise(start, length, DontNeed);
        }
    }

    /// <summary>
    /// Address and bytes of each mapping of a file that can neither be written nor holds a page that differs from the file, in memory or
    /// swapped out: dropping such a page would lose what the loader wrote there before it took the right to write away.
    /// </summary>
    public static IReadOnlyList<(nint Start, nuint Length)> ReadOnlyMappings(IEnumerable<string> smaps)
    {
        List<(nint Start, nuint Length)> found = [];
        (nint Start, nuint Length)? candidate = null;
        foreach (var line in smaps)
        {
            var words = line.Split(' ', 6, StringSplitOptions.RemoveEmptyEntries);
            if (words.Length >= 5 && words[0].Split('-') is [var from, var to])
            {
                var start = nint.Parse(from, NumberStyles.HexNumber, CultureInfo.InvariantCulture);
                var end = nint.Parse(to, NumberStyles.HexNumber, CultureInfo.InvariantCulture);
                candidate = words.Length == 6 && IsFile(words[5].Trim()) && words[1][0] == 'r' && words[1][1] == '-'
                    ? (start, (nuint)(end - start))
                    : null;
            }
            else if (words is ["Private_Dirty:" or "Shared_Dirty:" or "Anonymous:" or "Swap:", not "0", ..])
            {
                candidate = null;
            }
            else if (words is ["VmFlags:", ..] && candidate is { } mapping)
            {
                // The last line of a mapping.
                found.Add(mapping);
                candidate = null;
            }
        }

        return found;
    }

    private static bool IsFile(string path) =>
        path.StartsWith('/') && !path.StartsWith("/memfd:", StringComparison.Ordinal) && !path.StartsWith("/dev/", StringComparison.Ordinal);

    [LibraryImport("libc", EntryPoint = "madvise")]
    private static partial int Advise(nint address, nuint length, int advice);
}
