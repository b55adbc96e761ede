using System.Globalization;

namespace Hypervisor.Agent.Drivers.Containerd.Kernel;

/// <summary>What this process itself is limited to.</summary>
internal static class ProcessLimits
{
    /// <summary>
    /// Open files, at most <see cref="ContainerdLimits.OpenFiles"/>. Without CAP_SYS_RESOURCE nobody can give a container more than
    /// that, and runc fails a container that asks for it.
    /// </summary>
    public static ulong OpenFiles()
    {
        const string name = "Max open files";
        var line = File.ReadLines("/proc/self/limits").FirstOrDefault(text => text.StartsWith(name, StringComparison.Ordinal));
        var words = line?[name.Length..].Split(' ', StringSplitOptions.RemoveEmptyEntries);
        return words is [_, var hard, ..] && ulong.TryParse(hard, NumberStyles.None, CultureInfo.InvariantCulture, out var limit)
            ? Math.Min(limit, ContainerdLimits.OpenFiles)
            : ContainerdLimits.OpenFiles;
    }
}
