using System.Globalization;
using System.Runtime.InteropServices;

namespace Hypervisor.Agent.Native;

/// <summary>The pages of this program's own file in memory: madvise(2), proc_pid_smaps(5).</summary>
/// <remarks>
/// Starting touches code and constants that are not needed again until the next start, and the kernel maps sixteen pages around
/// each that is. What is needed after all comes back from the page cache, by a fault of a microsecond or so.
/// </remarks>
internal static partial class ProgramPages
{
    private const int DontNeed = 4;

    /// <summary>Unmaps what is only read and equals the file. Does nothing where that cannot be told.</summary>
    public static void Release()
    {
        if (Environment.ProcessPath is not { } program || !File.Exists("/proc/self/smaps"))
        {
            return;
        }

        foreach (var (start, length) in ReadOnlyMappings(File.ReadAllLines("/proc/self/smaps"), program))
        {
            _ = Advise(start, length, DontNeed);
        }
    }

    /// <summary>
    /// Address and bytes of each mapping of the file that can neither be written nor holds a page that differs from the file: dropping
    /// such a page would lose what the loader wrote there before it took the right to write away.
    /// </summary>
    public static IReadOnlyList<(nint Start, nuint Length)> ReadOnlyMappings(IEnumerable<string> smaps, string path)
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
                candidate = words.Length == 6 && words[5].Trim() == path && words[1][0] == 'r' && words[1][1] == '-'
                    ? (start, (nuint)(end - start))
                    : null;
            }
            else if (candidate is { } mapping && words is ["Private_Dirty:", var dirty, ..])
            {
                if (dirty == "0")
                {
                    found.Add(mapping);
                }

                candidate = null;
            }
        }

        return found;
    }

    [LibraryImport("libc", EntryPoint = "madvise")]
    private static partial int Advise(nint address, nuint length, int advice);
}
