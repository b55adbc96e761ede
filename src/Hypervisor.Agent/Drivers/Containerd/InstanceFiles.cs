using System.Globalization;
using System.Text;
using Hypervisor.Agent.Drivers.Containerd.Kernel;
using Hypervisor.Agent.Drivers.Containerd.Spec;
using Hypervisor.Agent.Native;
using Hypervisor.Agent.Networking;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Drivers.Containerd;

/// <summary>
/// The small files of each instance on the node: what is bound into the container (hosts, hostname, resolv.conf) and when its
/// process was started. They lie in memory and are gone after a reboot, as the process is.
/// </summary>
/// <remarks>
/// Only root may enter the directory, so nobody can plant a link in it; the files themselves are world-readable, because the
/// container's processes read them under any uid.
/// </remarks>
internal sealed class InstanceFiles(ContainerdOptions options)
{
    private const UnixFileMode OnlyRoot = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute;
    private const UnixFileMode Readable = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.GroupRead | UnixFileMode.OtherRead;

    private readonly string _instances = Path.Combine(options.RunDirectory, "instances");

    public string DirectoryOf(string id) => Path.Combine(_instances, id);

    /// <summary>Also half-made ones.</summary>
    public IReadOnlyList<string> List() =>
        Directory.Exists(_instances) ? [.. Directory.EnumerateDirectories(_instances).Select(path => Path.GetFileName(path)!)] : [];

    public void Write(Assignment assignment, NetworkAttachment? network)
    {
        Directory.CreateDirectory(_instances, OnlyRoot);
        var directory = DirectoryOf(assignment.Uid);
        Directory.CreateDirectory(directory, OnlyRoot);
        var hostname = SpecRenderer.Hostname(assignment);
        var hosts = new StringBuilder("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n");
        if (network is not null)
        {
            hosts.Append(CultureInfo.InvariantCulture, $"{network.Address}\t{hostname}\n");
        }

        Put(directory, "hosts", hosts.ToString());
        Put(directory, "hostname", hostname + "\n");
        Put(directory, "resolv.conf", network is null ? "" : Resolvers(assignment.Spec.Network ?? new NetworkSpec()));
    }

    /// <summary>Notes that a process is about to run: without a task and with this note, it is gone without our knowing why.</summary>
    public void NoteStarted(string id, DateTimeOffset at)
    {
        var directory = DirectoryOf(id);
        Directory.CreateDirectory(directory, OnlyRoot);
        Put(directory, "started", at.ToString("O", CultureInfo.InvariantCulture));
    }

    /// <summary>The process that was about to run did not.</summary>
    public void ForgetStart(string id)
    {
        if (Directory.Exists(DirectoryOf(id)))
        {
            File.Delete(Path.Combine(DirectoryOf(id), "started"));
        }
    }

    public DateTimeOffset? StartedAt(string id)
    {
        try
        {
            return DateTimeOffset.TryParse(
                File.ReadAllText(Path.Combine(DirectoryOf(id), "started")), CultureInfo.InvariantCulture, DateTimeStyles.RoundtripKind, out var at)
                ? at
                : null;
        }
        catch (IOException)
        {
            return null;
        }
    }

    /// <summary>The pipe that an attached client writes to; the process's standard input.</summary>
    public string InputOf(string id) => Path.Combine(DirectoryOf(id), "stdin");

    /// <returns>Its path.</returns>
    public string MakeInput(string id)
    {
        NativeMethods.MakeFifo(InputOf(id));
        return InputOf(id);
    }

    public void Remove(string id)
    {
        var directory = DirectoryOf(id);
        if (Directory.Exists(directory))
        {
            Directory.Delete(directory, recursive: true);
        }
    }

    private string Resolvers(NetworkSpec network)
    {
        var text = new StringBuilder();
        foreach (var server in Networking.Resolvers.For(network.DnsServers, options.DnsServers))
        {
            text.Append("nameserver ").Append(server).Append('\n');
        }

        var search = network.DnsSearch.Where(domain => domain.Length > 0 && domain.All(c => char.IsAsciiLetterOrDigit(c) || c is '.' or '-' or '_'));
        var domains = string.Join(' ', search);
        if (domains.Length > 0)
        {
            text.Append("search ").Append(domains).Append('\n');
        }

        return text.ToString();
    }

    private static void Put(string directory, string name, string text) =>
        WholeFile.Write(Path.Combine(directory, name), Encoding.UTF8.GetBytes(text), Readable);
}
