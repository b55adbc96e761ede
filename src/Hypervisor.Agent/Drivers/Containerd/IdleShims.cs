using System.Globalization;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Text;
using Hypervisor.Agent.Drivers.Containerd.Kernel;

namespace Hypervisor.Agent.Drivers.Containerd;

/// <summary>Shims of our containerd and namespace that serve no container: found by what the kernel knows of them, and ended.</summary>
/// <remarks>
/// When a client of containerd dies in the middle of a task's creation, containerd kills the "start" command that it had run, but
/// not the shim which that command had already put into the background. No record mentions such a shim, and it never ends by itself.
/// </remarks>
internal sealed class IdleShims(ContainerdOptions options, Cgroups cgroups, string proc = "/proc")
{
    private const string Program = "containerd-shim-runc-v2";

    /// <summary>The shims' sockets lie here whatever containerd's own state directory is.</summary>
    private const string Sockets = "/run/containerd/s";

    /// <summary>Ids of the containers for which such shims were started; the containers themselves may be served by others.</summary>
    public IReadOnlyList<string> List() => [.. Find().Select(shim => shim.ContainerId).Distinct(StringComparer.Ordinal)];

    /// <summary>Ends those that were started for the container. The caller holds its lock, so that none is being started for it.</summary>
    public void End(string id)
    {
        foreach (var shim in Find().Where(shim => shim.ContainerId == id))
        {
            var children = ChildrenOf(shim.ProcessId);
            if (children.Any(child => ServesAnother(child, id)))
            {
                continue;
            }

            // The socket first: while the shim lives nobody else can bind this path, afterwards somebody may.
            File.Delete(shim.Socket);
            NativeMethods.Kill(shim.ProcessId, NativeMethods.SigKill);
            foreach (var child in children)
            {
                // runc in the middle of something that nobody waits for.
                NativeMethods.Kill(child, NativeMethods.SigKill);
            }
        }
    }

    /// <summary>Removes the socket that a killed shim left. Nobody may start a shim of that name meanwhile.</summary>
    /// <param name="name">A container's id, or a group's name.</param>
    public void RemoveDeadSocket(string name)
    {
        var path = SocketOf(name);
        if (!File.Exists(path))
        {
            return;
        }

        using var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            socket.Connect(new UnixDomainSocketEndPoint(path));
        }
        catch (SocketException error) when (error.SocketErrorCode == SocketError.ConnectionRefused)
        {
            File.Delete(path);
        }
        catch (SocketException)
        {
            // Gone meanwhile, or somebody listens whose queue is full: not dead.
        }
    }

    /// <summary>As containerd names it (pkg/shim, SocketAddress).</summary>
    internal string SocketOf(string name) => Path.Combine(
        Sockets,
        Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes($"{options.SocketPath}/{options.Namespace}/{name}"))));

    private List<Shim> Find()
    {
        // First the shims, then the bundles: a bundle exists before the shim that is started in it.
        var shims = Processes().Select(Read).OfType<Shim>().ToList();
        if (shims.Count == 0)
        {
            return [];
        }

        var bundles = Path.Combine(options.StateDirectory, "io.containerd.runtime.v2.task", options.Namespace);
        foreach (var bundle in Directory.Exists(bundles) ? Directory.GetDirectories(bundles) : [])
        {
            if (Path.GetFileName(bundle).StartsWith('.'))
            {
                // Being deleted.
                continue;
            }

            // containerd 1 writes the first, containerd 2 the second.
            var address = ReadText(Path.Combine(bundle, "address")) + ReadText(Path.Combine(bundle, "bootstrap.json"));
            if (address.Length == 0 && Directory.Exists(bundle))
            {
                // A container is just being given its shim, perhaps one of these: another time.
                return [];
            }

            shims.RemoveAll(shim => address.Contains(shim.Socket, StringComparison.Ordinal));
        }

        return shims;
    }

    private IEnumerable<int> Processes() => Directory.EnumerateDirectories(proc)
        .Select(path => int.TryParse(Path.GetFileName(path.AsSpan()), NumberStyles.None, CultureInfo.InvariantCulture, out var pid) ? pid : 0)
        .Where(pid => pid > 0);

    private Shim? Read(int pid)
    {
        var words = ReadText($"{proc}/{pid}/cmdline").Split('\0');
        if (Path.GetFileName(words[0]) != Program
            || After("-namespace") != options.Namespace
            || After("-address") != options.SocketPath
            || After("-id") is not { Length: > 0 } id
            // The short-lived commands of the same program: "start", "delete".
            || words.Contains("start") || words.Contains("delete"))
        {
            return null;
        }

        return ListensOn(pid) is { } socket ? new Shim(pid, id, socket) : null;

        string? After(string name) => Array.IndexOf(words, name) is >= 0 and var index && index + 1 < words.Length ? words[index + 1] : null;
    }

    /// <summary>The shim's socket, by its open files and the kernel's table of the sockets of its network namespace.</summary>
    private string? ListensOn(int pid)
    {
        HashSet<string> inodes;
        try
        {
            inodes = [.. Directory.EnumerateFileSystemEntries($"{proc}/{pid}/fd")
                .Select(path => new FileInfo(path).LinkTarget ?? "")
                .Where(target => target.StartsWith("socket:[", StringComparison.Ordinal))
                .Select(target => target["socket:[".Length..^1])];
        }
        catch (IOException)
        {
            // It has ended.
            return null;
        }

        // Num RefCount Protocol Flags Type St Inode Path; the flag 00010000 is a listening socket (__SO_ACCEPTCON).
        return ReadText($"{proc}/{pid}/net/unix").Split('\n')
            .Select(line => line.Split(' ', StringSplitOptions.RemoveEmptyEntries))
            .Where(fields => fields.Length == 8 && fields[3] == "00010000" && inodes.Contains(fields[6]))
            .Select(fields => fields[7])
            .FirstOrDefault(path => path.StartsWith(Sockets + "/", StringComparison.Ordinal));
    }

    private List<int> ChildrenOf(int pid)
    {
        try
        {
            return [.. Directory.GetDirectories($"{proc}/{pid}/task")
                .SelectMany(thread => ReadText($"{thread}/children").Split(' ', StringSplitOptions.RemoveEmptyEntries))
                .Select(child => int.Parse(child, CultureInfo.InvariantCulture))];
        }
        catch (IOException)
        {
            return [];
        }
    }

    /// <summary>Whether the process is inside a container other than this one.</summary>
    private bool ServesAnother(int pid, string id)
    {
        var parent = cgroups.PathOf("");
        var groups = ReadText($"{proc}/{pid}/cgroup");
        return groups.Contains(parent, StringComparison.Ordinal) && !groups.Contains(cgroups.PathOf(id), StringComparison.Ordinal);
    }

    private static string ReadText(string path)
    {
        try
        {
            return File.ReadAllText(path);
        }
        catch (IOException)
        {
            // The process or the bundle has gone.
            return "";
        }
    }

    private sealed record Shim(int ProcessId, string ContainerId, string Socket);
}
