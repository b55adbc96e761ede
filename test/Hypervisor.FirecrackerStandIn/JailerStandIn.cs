using System.Globalization;
using System.Runtime.InteropServices;

namespace Hypervisor.FirecrackerStandIn;

/// <summary>
/// A stand-in for the jailer: takes its options and refuses all others, makes its folders, and becomes the program in the jail's folder. It
/// does not change root, user or namespaces: neither .NET nor QEMU would be there.
/// </summary>
internal static partial class JailerStandIn
{
    public const string Argument = "jailer";

    private static readonly string[] Options =
        ["--id", "--exec-file", "--uid", "--gid", "--chroot-base-dir", "--cgroup-version", "--parent-cgroup", "--cgroup", "--netns", "--resource-limit"];

    public static int Run(IReadOnlyList<string> arguments)
    {
        var values = new Dictionary<string, string>(StringComparer.Ordinal);
        var index = 0;
        for (; index < arguments.Count && arguments[index] != "--"; index += 2)
        {
            if (!Options.Contains(arguments[index], StringComparer.Ordinal) || index + 1 >= arguments.Count
                || (!values.TryAdd(arguments[index], arguments[index + 1]) && arguments[index] is not "--cgroup" and not "--resource-limit"))
            {
                return Refuse($"Found argument '{arguments[index]}' which wasn't expected, or has no value, or was there before.");
            }
        }

        foreach (var needed in (string[])["--id", "--exec-file", "--uid", "--gid"])
        {
            if (!values.ContainsKey(needed))
            {
                return Refuse($"Argument '{needed}' required, but not found.");
            }
        }

        if (!uint.TryParse(values["--uid"], NumberStyles.None, CultureInfo.InvariantCulture, out _) || !uint.TryParse(values["--gid"], NumberStyles.None, CultureInfo.InvariantCulture, out _))
        {
            return Refuse("Invalid uid or gid.");
        }

        var program = values["--exec-file"];
        if (!Path.IsPathRooted(program) || !File.Exists(program))
        {
            return Refuse($"Failed to canonicalize path {program}.");
        }

        var root = Path.Combine(values.GetValueOrDefault("--chroot-base-dir", "/srv/jailer"), Path.GetFileName(program), values["--id"], "root");
        Directory.CreateDirectory(root);
        Directory.SetCurrentDirectory(root);
        string?[] line = [program, "--id", values["--id"], "--start-time-us", "1", "--start-time-cpu-us", "1", .. arguments.Skip(index + 1), null];
        _ = Execute(program, line);
        return Refuse($"Failed to exec into Firecracker: {Marshal.GetLastPInvokeErrorMessage()}");
    }

    private static int Refuse(string why)
    {
        Console.Error.WriteLine($"jailer-stand-in: {why}");
        return 1;
    }

    [LibraryImport("libc", EntryPoint = "execv", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Execute(string path, string?[] arguments);
}
