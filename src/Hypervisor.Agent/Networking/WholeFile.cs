namespace Hypervisor.Agent.Networking;

/// <summary>Files that are replaced as a whole: a reader, also one after a crash of this process, finds the old or the new.</summary>
internal static class WholeFile
{
    public const string TemporarySuffix = ".new";

    /// <remarks>
    /// Survives the death of the process, not a power cut: what these files describe (namespaces, interfaces, settings) does
    /// not survive that either, and syncing would cost more than the rest of an attachment.
    /// </remarks>
    public static void Write(string path, byte[] content, UnixFileMode mode)
    {
        var temporary = path + TemporarySuffix;
        File.Delete(temporary);
        try
        {
            using (var file = new FileStream(temporary, new FileStreamOptions { Mode = FileMode.CreateNew, Access = FileAccess.Write, UnixCreateMode = mode }))
            {
                file.Write(content);
            }

            File.Move(temporary, path, overwrite: true);
        }
        catch (IOException)
        {
            // On a full disk, say: nobody would remove it before the next start of the agent.
            File.Delete(temporary);
            throw;
        }
    }
}
