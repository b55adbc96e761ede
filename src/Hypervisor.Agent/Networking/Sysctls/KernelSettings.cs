using System.Text.Json;
using Hypervisor.Agent.Native;

namespace Hypervisor.Agent.Networking.Sysctls;

/// <summary>
/// Settings of the host (sysctls) that the network needs changed, and what to put back. The previous value is on disk before
/// the setting is touched, so a crash at any point loses nothing. A reboot resets settings by itself: a journal of another
/// boot is void. For that reason nothing is flushed to the platter: a power cut ends the setting together with the journal.
/// </summary>
/// <param name="root">/proc/sys.</param>
/// <param name="bootId">Identifies this boot.</param>
internal sealed class KernelSettings(string journalPath, string root, string bootId)
{
    private const UnixFileMode OwnerOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite;

    /// <summary>This boot's identity according to the kernel.</summary>
    public static string CurrentBootId() => File.ReadAllText("/proc/sys/kernel/random/boot_id").Trim();

    /// <summary>Sets a value, remembering the one found. A foreign change in between is remembered and overruled again.</summary>
    /// <param name="key">As a path, for example "net/ipv4/ip_forward".</param>
    public void Require(string key, string value)
    {
        var found = Read(key);
        var journal = Load();
        if (found == value)
        {
            return;
        }

        journal.Previous[key] = found;
        Save(journal);
        Write(key, value);
    }

    /// <summary>Whether <see cref="Require"/> has changed the value of this key, or would.</summary>
    public bool Changes(string key, string value) => Read(key) != value || Load().Previous.ContainsKey(key);

    /// <summary>Sets a value of an interface of ours, which takes it along when it goes; absent keys (no IPv6) are left out.</summary>
    public void Set(string key, string value)
    {
        if (File.Exists(Path.Combine(root, key)) && Read(key) != value)
        {
            Write(key, value);
        }
    }

    /// <summary>Puts every value back and forgets them.</summary>
    public void Restore()
    {
        foreach (var (key, value) in Load().Previous)
        {
            Write(key, value);
        }

        File.Delete(journalPath);
    }

    private string Read(string key) => File.ReadAllText(Path.Combine(root, key)).Trim();

    private void Write(string key, string value)
    {
        try
        {
            File.WriteAllText(Path.Combine(root, key), value);
        }
        catch (Exception refused) when (refused is IOException or UnauthorizedAccessException)
        {
            throw new IOException($"cannot set {key.Replace('/', '.')} to {value}: {refused.Message} The agent needs a writable /proc/sys.", refused);
        }
    }

    private SettingsJournal Load()
    {
        try
        {
            var journal = JsonSerializer.Deserialize(File.ReadAllBytes(journalPath), NetworkJson.Default.SettingsJournal);
            return journal is { Previous: not null } && journal.BootId == bootId ? journal : new(bootId, []);
        }
        catch (Exception unreadable) when (unreadable is JsonException or FileNotFoundException or DirectoryNotFoundException)
        {
            // Torn by a power cut, hence of an earlier boot; or never written.
            return new(bootId, []);
        }
    }

    private void Save(SettingsJournal journal) =>
        WholeFile.Write(journalPath, JsonSerializer.SerializeToUtf8Bytes(journal, NetworkJson.Default.SettingsJournal), OwnerOnly);
}

/// <param name="Previous">Key to value.</param>
internal sealed record SettingsJournal(string BootId, SortedDictionary<string, string> Previous);
