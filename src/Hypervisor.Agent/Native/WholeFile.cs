namespace Hypervisor.Agent.Native;

/// <summary>Files that are replaced as a whole: a reader, also one after a crash of this process, finds the old or the new.</summary>
internal static class WholeFile
{
    public const string TemporarySuffix = ".new";

    /// <param name="durable">
    /// Survives a power cut, not only the death of the process. Not for what describes things that do not survive one either
    /// (namespaces, interfaces, settings): syncing would cost more than the rest of an attachment.
    /// </param>
    public static void Write(string path, ReadOnlySpan<byte> content, UnixFileMode mode, bool durable = false)
    {
        // Left by a crash. Deleting and CreateNew (O_EXCL) follow no link that somebody put in its place.
        var temporary = path + TemporarySuffix;
        File.Delete(temporary);
        var options = new FileStreamOptions { Mode = FileMode.CreateNew, Access = FileAccess.Write, UnixCreateMode = mode };
        try
        {
            using (var file = new FileStream(temporary, options))
            {
                file.Write(content);
                file.Flush(flushToDisk: durable);
            }

            // rename(2) replaces a link itself, not what it points to; it is durable once the directory is synced.
            File.Move(temporary, path, overwrite: true);
        }
        catch (IOException)
        {
            // On a full disk, say: nobody would remove it before the next start of the agent.
            File.Delete(temporary);
            throw;
        }

        if (durable)
        {
            LinuxFile.SyncDirectory(Path.GetDirectoryName(path)!);
        }
    }
}
