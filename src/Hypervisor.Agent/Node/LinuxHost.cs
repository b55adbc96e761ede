using System.Globalization;
using System.Runtime.InteropServices;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Node;

/// <summary>Reads the machine from /proc, /sys and /etc/os-release.</summary>
/// <param name="dataDirectory">On the file system that instances use.</param>
/// <param name="root">"/" but in tests.</param>
internal sealed class LinuxHost(string dataDirectory, string root = "/") : IHostFacts
{
    public HostFacts Read()
    {
        var limits = CgroupLimits.Read(root);
        var cpus = CountCpus(ReadLine("sys/devices/system/cpu/online"));
        var capacity = new Resources
        {
            CpuMillicores = Math.Min(cpus * 1000L, limits.CpuMillicores ?? long.MaxValue),
            MemoryBytes = Math.Min(TotalMemory(), limits.MemoryBytes ?? long.MaxValue),
            DiskBytes = FileSystemBytes(),
        };
        return new HostFacts(
            capacity,
            PrettyName(),
            ReadLine("proc/sys/kernel/osrelease"),
            NameOf(RuntimeInformation.OSArchitecture),
            ReadLine("proc/sys/kernel/random/boot_id"));
    }

    /// <summary>Of a list as in sysfs: "0-3,8,10-11". At least 1.</summary>
    public static int CountCpus(string list)
    {
        var count = 0;
        foreach (var range in list.Split(',', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries))
        {
            var dash = range.IndexOf('-', StringComparison.Ordinal);
            var first = int.Parse(dash < 0 ? range : range[..dash], NumberStyles.None, CultureInfo.InvariantCulture);
            var last = dash < 0 ? first : int.Parse(range[(dash + 1)..], NumberStyles.None, CultureInfo.InvariantCulture);
            count += last - first + 1;
        }

        return Math.Max(1, count);
    }

    private static string NameOf(Architecture architecture) => architecture switch
    {
        Architecture.X64 => "amd64",
        Architecture.Arm64 => "arm64",
        _ => architecture.ToString().ToLowerInvariant(),
    };

    private long TotalMemory()
    {
        // "MemTotal:       24689764 kB", proc(5)
        var line = File.ReadLines(Path.Combine(root, "proc/meminfo")).First(line => line.StartsWith("MemTotal:", StringComparison.Ordinal));
        var number = line["MemTotal:".Length..].Trim().Split(' ')[0];
        return long.Parse(number, NumberStyles.None, CultureInfo.InvariantCulture) * 1024;
    }

    private long FileSystemBytes()
    {
        // The directory may not be there yet: its nearest ancestor is on the same file system, or will be.
        var path = dataDirectory;
        while (!Directory.Exists(path))
        {
            path = Path.GetDirectoryName(path) ?? "/";
        }

        return new DriveInfo(path).TotalSize;
    }

    private string PrettyName()
    {
        // os-release(5): shell-like assignments, the value perhaps in double quotes.
        const string Key = "PRETTY_NAME=";
        var path = Path.Combine(root, "etc/os-release");
        var line = File.Exists(path) ? File.ReadLines(path).FirstOrDefault(line => line.StartsWith(Key, StringComparison.Ordinal)) : null;
        return line is null ? "Linux" : line[Key.Length..].Trim('"', '\'');
    }

    private string ReadLine(string path) => File.ReadLines(Path.Combine(root, path)).FirstOrDefault("").Trim();
}
