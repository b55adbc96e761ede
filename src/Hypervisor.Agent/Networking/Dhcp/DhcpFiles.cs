using System.Text;
using Hypervisor.Agent.Networking.Attachments;

namespace Hypervisor.Agent.Networking.Dhcp;

/// <summary>
/// The files that dnsmasq reads: its configuration, and a folder each for guests and for what they are told besides, in which it
/// notices new files by itself. World-readable, for it gives up root's rights. None survives a reboot, as the server does not.
/// </summary>
/// <remarks>
/// Files are made beside the folders and moved in, so that it reads each once and whole. What it has read it keeps: a file that
/// changes or comes back ends it ("duplicate dhcp-host IP address"), and on SIGHUP version 2.90 crashes when a guest has a tag and
/// a lease. So anything but a new guest means starting it again, which takes 60 ms and costs no guest anything.
/// </remarks>
internal sealed class DhcpFiles(string directory)
{
    private const UnixFileMode ReadableFolder = Readable | UnixFileMode.UserExecute | UnixFileMode.GroupExecute | UnixFileMode.OtherExecute;
    private const UnixFileMode Readable = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.GroupRead | UnixFileMode.OtherRead;

    /// <summary>What the running server has read, by file.</summary>
    private readonly Dictionary<string, (string Host, string Options)> _read = new(StringComparer.Ordinal);

    private string _configuration = "";

    public string Configuration => Path.Combine(directory, "dnsmasq.conf");

    public string Hosts => Path.Combine(directory, "hosts");

    public string Options => Path.Combine(directory, "options");

    public string ProcessId => Path.Combine(directory, "pid");

    /// <summary>Makes everything anew, for a server that is about to be started.</summary>
    public void WriteAll(string configuration, IReadOnlyList<Attachment> clients)
    {
        Remove();
        foreach (var folder in new[] { directory, Hosts, Options })
        {
            Directory.CreateDirectory(folder);
            File.SetUnixFileMode(folder, ReadableFolder);
        }

        Put(Configuration, configuration);
        _configuration = configuration;
        foreach (var client in clients)
        {
            Add(client);
        }
    }

    /// <summary>Adds and removes guests under the running server.</summary>
    /// <returns>False, and nothing is done, when it has read what is no longer so.</returns>
    public bool Update(string configuration, IReadOnlyList<Attachment> clients)
    {
        if (configuration != _configuration)
        {
            return false;
        }

        var added = new List<Attachment>();
        foreach (var client in clients)
        {
            if (!_read.TryGetValue(DhcpPlan.FileOf(client), out var read))
            {
                added.Add(client);
            }
            else if (read != (DhcpPlan.RenderHost(client), DhcpPlan.RenderOptions(client)) || !File.Exists(Path.Combine(Hosts, DhcpPlan.FileOf(client))))
            {
                return false;
            }
        }

        // Cut short, it is begun again with another server.
        _configuration = "";
        added.ForEach(Add);
        foreach (var gone in Directory.GetFiles(Hosts).Select(Path.GetFileName).Except(clients.Select(DhcpPlan.FileOf)))
        {
            // Remembered by the server, and nobody may use that hardware address meanwhile.
            File.Delete(Path.Combine(Hosts, gone!));
            File.Delete(Path.Combine(Options, gone!));
        }

        _configuration = configuration;
        return true;
    }

    public void Remove()
    {
        _read.Clear();
        _configuration = "";
        if (Directory.Exists(directory))
        {
            Directory.Delete(directory, recursive: true);
        }
    }

    /// <summary>A folder on the way that another user than its owner cannot pass; null when there is none.</summary>
    public string? FindClosedFolder()
    {
        for (var parent = Path.GetDirectoryName(directory); parent is not null; parent = Path.GetDirectoryName(parent))
        {
            if (Directory.Exists(parent) && (File.GetUnixFileMode(parent) & UnixFileMode.OtherExecute) == 0)
            {
                return parent;
            }
        }

        return null;
    }

    private void Add(Attachment client)
    {
        var name = DhcpPlan.FileOf(client);
        var entry = (Host: DhcpPlan.RenderHost(client), Options: DhcpPlan.RenderOptions(client));

        // What it is told besides first: it may ask as soon as it is known.
        Put(Path.Combine(Options, name), entry.Options);
        Put(Path.Combine(Hosts, name), entry.Host);
        _read[name] = entry;
    }

    private void Put(string path, string text)
    {
        var beside = Path.Combine(directory, "next");
        File.Delete(beside);
        using (var file = new FileStream(beside, new FileStreamOptions { Mode = FileMode.CreateNew, Access = FileAccess.Write, UnixCreateMode = Readable }))
        {
            file.Write(Encoding.ASCII.GetBytes(text));
        }

        // Whatever the agent's own mask took away.
        File.SetUnixFileMode(beside, Readable);
        File.Move(beside, path);
    }
}
