using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Guests.Disks;

namespace Hypervisor.Agent.Guests.Warm;

/// <summary>What guests go on from: memory, the state of the machine's devices, and the root disk as both have it.</summary>
internal sealed record WarmTemplate(string Folder)
{
    public string Memory => Path.Combine(Folder, "memory");

    public string State => Path.Combine(Folder, "state");

    public string Root => Path.Combine(Folder, "root");
}

/// <summary>The templates of a node, a folder each: whole once it has its last name. Not thread-safe but for <see cref="Find"/>.</summary>
/// <remarks>A guest that runs keeps the memory that it went on from, also when the file's name is gone.</remarks>
internal sealed class WarmTemplates(string directory, TimeProvider time)
{
    private const string Unfinished = ".making";

    public WarmTemplate? Find(string key)
    {
        var folder = Path.Combine(directory, key);
        if (!Directory.Exists(folder))
        {
            return null;
        }

        Directory.SetLastWriteTimeUtc(folder, time.GetUtcNow().UtcDateTime);
        return new WarmTemplate(folder);
    }

    /// <summary>Makes room for one, and its memory: as large as it will be, so that a full disk is told here and not by the machine's end.</summary>
    /// <exception cref="DriverException">DiskFull.</exception>
    public WarmTemplate Begin(string key, long memoryBytes)
    {
        Directory.CreateDirectory(directory, DiskFiles.Traversable);
        var present = new DirectoryInfo(directory).GetDirectories();
        foreach (var old in present.Where(folder => folder.Name.EndsWith(Unfinished, StringComparison.Ordinal))
            .Concat(present.Where(folder => !folder.Name.EndsWith(Unfinished, StringComparison.Ordinal))
                .OrderByDescending(folder => folder.LastWriteTimeUtc)
                .Skip(WarmLimits.Templates - 1)))
        {
            old.Delete(recursive: true);
        }

        var template = new WarmTemplate(Path.Combine(directory, key + Unfinished));
        Directory.CreateDirectory(template.Folder, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        try
        {
            using var memory = new FileStream(template.Memory, new FileStreamOptions
            {
                Mode = FileMode.CreateNew,
                Access = FileAccess.Write,
                PreallocationSize = memoryBytes,
                UnixCreateMode = DiskFiles.OwnerOnly,
            });
            memory.SetLength(memoryBytes);
        }
        catch (IOException error) when (DriverException.IsFullDisk(error))
        {
            throw DriverException.OfFullDisk(error);
        }

        return template;
    }

    public WarmTemplate Finish(string key)
    {
        // Not made durable: another boot of the host has other keys.
        Directory.Move(Path.Combine(directory, key + Unfinished), Path.Combine(directory, key));
        return Find(key)!;
    }

    public void Remove(string key)
    {
        foreach (var folder in new[] { key, key + Unfinished }.Select(name => Path.Combine(directory, name)).Where(Directory.Exists))
        {
            Directory.Delete(folder, recursive: true);
        }
    }
}
