using System.Text.Json;
using Hypervisor.Agent.Native;

namespace Hypervisor.Agent.Node;

/// <summary><c>node.json</c> in the data directory: readable by its owner only, replaced atomically, never through a symbolic link.</summary>
internal sealed class NodeIdentityFile(string directory) : INodeIdentityStore
{
    private const UnixFileMode OwnerOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite;
    private const UnixFileMode OwnerDirectory = OwnerOnly | UnixFileMode.UserExecute;
    private const UnixFileMode Others =
        UnixFileMode.GroupRead | UnixFileMode.GroupWrite | UnixFileMode.OtherRead | UnixFileMode.OtherWrite;

    private readonly string _path = Path.Combine(directory, "node.json");
    private readonly string _next = Path.Combine(directory, ".node.json.new");

    public NodeIdentity Load()
    {
        using var handle = LinuxFile.OpenRead(_path);
        if (handle is null)
        {
            return new NodeIdentity();
        }

        var mode = File.GetUnixFileMode(handle);
        if ((mode & Others) != 0)
        {
            throw new InvalidDataException($"{_path} holds the node's secret and is open to others; run: chmod 600 {_path}");
        }

        try
        {
            using var stream = new FileStream(handle, FileAccess.Read);
            if (stream.Length > Limits.IdentityFileBytes)
            {
                throw new JsonException("too large");
            }

            return JsonSerializer.Deserialize(stream, NodeIdentityJson.Default.NodeIdentity) ?? throw new JsonException("empty");
        }
        catch (JsonException damage)
        {
            throw new InvalidDataException(
                $"{_path} is damaged ({damage.Message}). Restore it from a backup, or deregister the node, remove the file and start again.", damage);
        }
    }

    public void Save(NodeIdentity identity)
    {
        Directory.CreateDirectory(directory, OwnerDirectory);

        // Left by a crash. Deleting and CreateNew (O_EXCL) follow no link that somebody put in its place.
        File.Delete(_next);
        using (var stream = new FileStream(_next, new FileStreamOptions { Mode = FileMode.CreateNew, Access = FileAccess.Write, UnixCreateMode = OwnerOnly }))
        {
            JsonSerializer.Serialize(stream, identity, NodeIdentityJson.Default.NodeIdentity);
            stream.Flush(flushToDisk: true);
        }

        // rename(2) replaces a link itself, not what it points to; it is durable once the directory is synced.
        File.Move(_next, _path, overwrite: true);
        LinuxFile.SyncDirectory(directory);
    }
}
