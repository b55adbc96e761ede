using Hypervisor.Protocol;

namespace Hypervisor.Agent.Drivers.Libvirt;

/// <summary>Which guests libvirtd may hold a definition of: an empty file each, made before the definition and removed after it.</summary>
/// <remarks>
/// Only asked where there is no libvirtd: a node without one would otherwise have to be mute for ever, or its definitions be taken for gone.
/// Which guests there are is libvirtd's to say.
/// </remarks>
internal sealed class LibvirtRecords(string directory)
{
    public bool Any => Directory.Exists(directory) && Directory.EnumerateFiles(directory).Any();

    public bool Has(InstanceId id) => PathOf(id) is { } path && File.Exists(path);

    public void Add(InstanceId id)
    {
        if (PathOf(id) is { } path)
        {
            Directory.CreateDirectory(directory, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
            File.Create(path).Dispose();
        }
    }

    public void Remove(InstanceId id)
    {
        if (Has(id))
        {
            File.Delete(PathOf(id)!);
        }
    }

    private string? PathOf(InstanceId id) => Guid.TryParseExact(id.Value, "D", out _) ? Path.Combine(directory, id.Value) : null;
}
