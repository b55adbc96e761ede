using System.Text;
using System.Text.Json;
using Hypervisor.Agent.Guests.Disks;
using Hypervisor.Agent.Native;

namespace Hypervisor.Agent.Guests;

/// <summary>The folders of guests, and the record in each: written before anything else is made, removed last.</summary>
internal sealed class GuestStore(GuestOptions options)
{
    private const string RecordName = "record.json";
    private const string StateName = "memory";
    private const string SnapshotsName = "snapshots";
    private const UnixFileMode OnlyRoot = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute;
    private const UnixFileMode Private = UnixFileMode.UserRead | UnixFileMode.UserWrite;

    /// <summary>Ids of guests that have anything here.</summary>
    public IReadOnlyList<string> List() =>
        [.. Names(options.DataDirectory).Concat(Names(options.RunDirectory)).Distinct(StringComparer.Ordinal).Order(StringComparer.Ordinal)];

    public bool Exists(string uid) => Directory.Exists(FolderOf(uid)) || Directory.Exists(RunFolderOf(uid));

    public string FolderOf(string uid) => Path.Combine(options.DataDirectory, uid);

    public string RunFolderOf(string uid) => Path.Combine(options.RunDirectory, uid);

    public string ConsoleLogOf(string uid) => Path.Combine(FolderOf(uid), "console.log");

    public string ConfigDriveOf(string uid) => Path.Combine(FolderOf(uid), "config");

    /// <summary>Of its init, while it runs.</summary>
    public string ChannelOf(string uid) => Path.Combine(RunFolderOf(uid), GuestMachine.ChannelName);

    /// <summary>The memory of a suspended guest.</summary>
    public string StateOf(string uid) => Path.Combine(FolderOf(uid), StateName);

    /// <summary>Null when there is none that can be read: then nothing is known of what lies there, not even its epoch.</summary>
    public GuestRecord? Read(string uid) => Read(uid, Path.Combine(FolderOf(uid), RecordName));

    private static GuestRecord? Read(string uid, string path)
    {
        using var file = LinuxFile.OpenRead(path);
        if (file is null)
        {
            return null;
        }

        var content = new byte[Math.Min(RandomAccess.GetLength(file), GuestLimits.RecordBytes)];
        var length = RandomAccess.Read(file, content, 0);
        try
        {
            var record = JsonSerializer.Deserialize(content.AsSpan(0, length), GuestJson.Default.GuestRecord);
            return record?.Assignment.Uid == uid ? record : null;
        }
        catch (JsonException)
        {
            return null;
        }
    }

    /// <summary>Durable on return.</summary>
    public void Write(GuestRecord record)
    {
        var folder = FolderOf(record.Assignment.Uid);
        if (!Directory.Exists(folder))
        {
            Directory.CreateDirectory(folder, OnlyRoot);
            LinuxFile.SyncDirectory(options.DataDirectory);
        }

        WholeFile.Write(
            Path.Combine(folder, RecordName), JsonSerializer.SerializeToUtf8Bytes(record, GuestJson.Default.GuestRecord), Private, durable: true);
    }

    public void MakeRunFolder(string uid) => Directory.CreateDirectory(RunFolderOf(uid), OnlyRoot);

    public void RemoveState(string uid) => File.Delete(StateOf(uid));

    /// <summary>What a suspended guest has in memory becomes its snapshot's too, with the record of the machine that it is of. Durable on return.</summary>
    /// <returns>Bytes.</returns>
    public long KeepState(GuestRecord record, string snapshot)
    {
        var uid = record.Assignment.Uid;
        Directory.CreateDirectory(SnapshotsOf(uid), OnlyRoot);
        Replace(StateOf(uid), MemoryOf(uid, snapshot));
        WholeFile.Write(
            MachineOf(uid, snapshot),
            JsonSerializer.SerializeToUtf8Bytes(record with { Snapshots = [], Restored = null }, GuestJson.Default.GuestRecord),
            Private,
            durable: true);
        LinuxFile.SyncDirectory(FolderOf(uid));
        return DiskFiles.Allocated(MemoryOf(uid, snapshot));
    }

    /// <summary>A snapshot's memory becomes what the next start goes on from. Durable on return.</summary>
    public void TakeState(string uid, string snapshot)
    {
        Replace(MemoryOf(uid, snapshot), StateOf(uid));
        LinuxFile.SyncDirectory(FolderOf(uid));
    }

    /// <summary>The machine whose memory a snapshot has; null when it has none, or is not whole.</summary>
    public GuestRecord? ReadMachine(string uid, string snapshot) =>
        File.Exists(MemoryOf(uid, snapshot)) ? Read(uid, MachineOf(uid, snapshot)) : null;

    public void RemoveSnapshot(string uid, string snapshot)
    {
        if (Directory.Exists(SnapshotsOf(uid)))
        {
            File.Delete(MemoryOf(uid, snapshot));
            File.Delete(MachineOf(uid, snapshot));
        }
    }

    public void Remove(string uid)
    {
        Delete(RunFolderOf(uid));
        var folder = FolderOf(uid);
        if (!Directory.Exists(folder))
        {
            return;
        }

        foreach (var entry in new DirectoryInfo(folder).EnumerateFileSystemInfos().Where(entry => entry.Name != RecordName))
        {
            // A link is deleted itself, wherever it leads.
            if (entry is DirectoryInfo { LinkTarget: null } directory)
            {
                directory.Delete(recursive: true);
            }
            else
            {
                entry.Delete();
            }
        }

        // Durable before the record goes: what came back after a power cut would be nobody's.
        LinuxFile.SyncDirectory(folder);
        Directory.Delete(folder, recursive: true);
    }

    /// <summary>The end of what a guest wrote to its serial console, as words for a status.</summary>
    public string LastWordsOf(string uid)
    {
        try
        {
            using var file = File.OpenHandle(ConsoleLogOf(uid), FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
            var tail = new byte[GuestLimits.LastWordsBytes];
            var length = RandomAccess.Read(file, tail, Math.Max(0, RandomAccess.GetLength(file) - tail.Length));
            var lines = Encoding.UTF8.GetString(tail, 0, length).Split(['\n', '\r'], StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);
            var words = string.Join(" | ", lines.TakeLast(GuestLimits.LastWordsLines));
            return new string([.. words.Where(character => !char.IsControl(character))]);
        }
        catch (IOException)
        {
            return "";
        }
    }

    private string SnapshotsOf(string uid) => Path.Combine(FolderOf(uid), SnapshotsName);

    private string MemoryOf(string uid, string snapshot) => Path.Combine(SnapshotsOf(uid), snapshot + ".memory");

    private string MachineOf(string uid, string snapshot) => Path.Combine(SnapshotsOf(uid), snapshot + ".json");

    /// <summary>By name alone where that can be done: nobody writes to memory that was saved.</summary>
    private static void Replace(string from, string to)
    {
        File.Delete(to);
        if (!LinuxFile.Link(from, to))
        {
            File.Copy(from, to);
            DiskFiles.Sync(to);
        }
    }

    private static void Delete(string folder)
    {
        if (Directory.Exists(folder))
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    private static IEnumerable<string> Names(string directory) => Directory.Exists(directory)
        ? Directory.EnumerateDirectories(directory).Select(path => Path.GetFileName(path)!).Where(name => Guid.TryParseExact(name, "D", out _))
        : [];
}
