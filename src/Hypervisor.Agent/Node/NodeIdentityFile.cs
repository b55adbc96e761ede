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
        var content = JsonSerializer.SerializeToUtf8Bytes(identity, NodeIdentityJson.Default.NodeIdentity);
        WholeFile.Write(_path, content, OwnerOnly, durable: true);
    }
}
