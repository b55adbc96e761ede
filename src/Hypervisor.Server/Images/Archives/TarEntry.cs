using Hypervisor.Hosting.Yaml;

namespace Hypervisor.Server.Images.Archives;

internal enum TarEntryKind
{
    File,
    HardLink,
    SymbolicLink,
    CharacterDevice,
    BlockDevice,
    Directory,
    Fifo,
}

/// <summary>One entry of a tar archive. Names are bytes in tar; here each byte is one character.</summary>
/// <param name="DataOffset">Where its data begins in the stream.</param>
internal sealed record TarEntry(string Name, TarEntryKind Kind, long Size, string LinkTarget, long DeviceMajor, long DeviceMinor, long DataOffset)
{
    /// <summary>For messages.</summary>
    public string Shown => ArchivePath.Show(Name);
}

/// <summary>Paths as archives spell them. They never become paths of the server: they are compared, and refused where an extraction could be led out of its root.</summary>
internal static class ArchivePath
{
    /// <summary>"a/b" for "./a//b/"; empty for the root itself ("./").</summary>
    /// <exception cref="InvalidImageException">Absolute, with a ".." component, or too long.</exception>
    public static string Normalise(string name, string what)
    {
        if (name.Length is 0 or >= Limits.Images.PathBytes)
        {
            throw new InvalidImageException($"{what} \"{Show(name)}\" has {(name.Length == 0 ? "no path" : "a path of 4096 bytes or more")}.");
        }

        if (name[0] == '/')
        {
            throw new InvalidImageException($"{what} \"{Show(name)}\" has an absolute path.");
        }

        var segments = name.Split('/').Where(segment => segment is not ("" or ".")).ToList();
        return segments.Contains("..")
            ? throw new InvalidImageException($"{what} \"{Show(name)}\" leads out of the archive with \"..\".")
            : string.Join('/', segments);
    }

    /// <summary>The target of a symbolic link as a path in the archive.</summary>
    /// <exception cref="InvalidImageException">It points out of the archive.</exception>
    public static string ResolveLink(string linkName, string target)
    {
        List<string> segments = [.. linkName.Split('/')[..^1]];
        if (target.Length is 0 or >= Limits.Images.PathBytes || target[0] == '/')
        {
            throw new InvalidImageException($"Link \"{Show(linkName)}\" points out of the archive, to \"{Show(target)}\".");
        }

        foreach (var segment in target.Split('/'))
        {
            if (segment == ".." && segments.Count == 0)
            {
                throw new InvalidImageException($"Link \"{Show(linkName)}\" points out of the archive, to \"{Show(target)}\".");
            }

            if (segment == "..")
            {
                segments.RemoveAt(segments.Count - 1);
            }
            else if (segment is not ("" or "."))
            {
                segments.Add(segment);
            }
        }

        return string.Join('/', segments);
    }

    /// <summary>Bytes shown as UTF-8 where they are, escaped where they would do something to a terminal.</summary>
    public static string Show(string name) => DisplayText.Of(System.Text.Encoding.UTF8.GetString(System.Text.Encoding.Latin1.GetBytes(name)));
}
