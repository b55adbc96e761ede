using Hypervisor.Agent.Images;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Drivers;

/// <summary>What is run of an image, and how: the same for a container and for a guest made from it.</summary>
internal static class ProcessRules
{
    private const string DefaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

    /// <exception cref="DriverException">CommandMissing, ArgumentInvalid.</exception>
    public static string[] Arguments(ProcessSpec? process, ImageDefaults image)
    {
        var replaced = process is { Command.Count: > 0 };
        IEnumerable<string> command = replaced ? process!.Command : image.Entrypoint;
        IEnumerable<string> arguments = process is { Args.Count: > 0 } ? process.Args : replaced ? [] : image.Command;
        string[] all = [.. command, .. arguments];
        if (all.Length == 0 || all[0].Length == 0)
        {
            throw new DriverException("CommandMissing", "neither the image nor process.command names a command", permanent: true);
        }

        foreach (var argument in all)
        {
            RefuseNul("process.command and process.args", argument);
        }

        return all;
    }

    public static List<string> Environment(ProcessSpec? process, ImageDefaults image, string hostname)
    {
        var own = process?.Env.Select(variable => $"{variable.Name}={variable.Value}") ?? [];
        string[] terminal = process?.Terminal == true ? ["TERM=xterm"] : [];
        return Merge([DefaultPath, $"HOSTNAME={hostname}", .. terminal, .. image.Environment, .. own]);
    }

    /// <summary>One entry per name: the last value, at the first one's place.</summary>
    public static List<string> Merge(IEnumerable<string> entries)
    {
        var merged = new List<string>();
        var positions = new Dictionary<string, int>(StringComparer.Ordinal);
        foreach (var entry in entries)
        {
            RefuseNul("process.env", entry);
            var equals = entry.IndexOf('=');
            if (equals <= 0)
            {
                continue;
            }

            if (positions.TryAdd(entry[..equals], merged.Count))
            {
                merged.Add(entry);
            }
            else
            {
                merged[positions[entry[..equals]]] = entry;
            }
        }

        return merged;
    }

    /// <summary>
    /// A directory under /proc may be a file descriptor that leads out of the container (CVE-2024-21626); fixed runcs refuse it
    /// too, and no program has a reason to start there.
    /// </summary>
    public static string WorkingDirectory(ProcessSpec? process, ImageDefaults image)
    {
        var asked = process is { WorkingDir.Length: > 0 } ? process.WorkingDir : image.WorkingDirectory;
        return asked.Length == 0 ? "/" : WorkingDirectory(asked);
    }

    /// <exception cref="DriverException">WorkingDirectoryInvalid.</exception>
    public static string WorkingDirectory(string asked)
    {
        RefuseNul("process.working_dir", asked);
        var clean = asked.StartsWith('/') ? Path.GetFullPath(asked) : "";
        string[] refused = ["/proc", "/sys", "/dev/fd"];
        if (clean.Length == 0 || refused.Any(root => clean == root || clean.StartsWith(root + "/", StringComparison.Ordinal)))
        {
            throw new DriverException(
                "WorkingDirectoryInvalid",
                $"process.working_dir: \"{asked}\" is not an absolute path outside /proc, /sys and /dev/fd",
                permanent: true);
        }

        return clean;
    }

    public static void RefuseNul(string field, string value)
    {
        if (value.Contains('\0', StringComparison.Ordinal))
        {
            throw new DriverException("ArgumentInvalid", $"{field}: a NUL character cannot be passed to a process", permanent: true);
        }
    }
}
