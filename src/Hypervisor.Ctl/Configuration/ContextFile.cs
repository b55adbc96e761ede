using System.Text;
using Hypervisor.Ctl.Errors;

namespace Hypervisor.Ctl.Configuration;

/// <summary>A named server and project. Empty project: the server's default.</summary>
internal sealed record Context(string Name, string Server, string Project);

/// <summary>What the configuration file holds; <see cref="Current"/> names the context in use, null when none.</summary>
internal sealed record ContextFile(string Path, string? Current, IReadOnlyList<Context> Contexts)
{
    public const string PathVariable = "HYPERVISOR_CONFIG";

    public Context? Find(string name) => Contexts.FirstOrDefault(context => context.Name == name);

    /// <summary>$HYPERVISOR_CONFIG, else $XDG_CONFIG_HOME/hypervisor/config.yaml, else ~/.config/hypervisor/config.yaml.</summary>
    public static string? PathFor(Func<string, string?> variable)
    {
        if (variable(PathVariable) is { Length: > 0 } path)
        {
            return path;
        }

        // The XDG base directory specification says to ignore a relative one.
        if (variable("XDG_CONFIG_HOME") is { Length: > 0 } xdg && System.IO.Path.IsPathRooted(xdg))
        {
            return System.IO.Path.Combine(xdg, "hypervisor", "config.yaml");
        }

        return variable("HOME") is { Length: > 0 } home ? System.IO.Path.Combine(home, ".config", "hypervisor", "config.yaml") : null;
    }

    /// <summary>Reads the file; a file that does not exist is an empty configuration.</summary>
    public static ContextFile Load(Func<string, string?> variable)
    {
        var path = PathFor(variable)
            ?? throw CtlException.Usage($"There is no place for the configuration: neither HOME nor {PathVariable} is set.");
        return File.Exists(path) ? ContextFileReader.Read(path) : new(path, null, []);
    }

    /// <summary>As <see cref="Load"/>, for commands that only read: without any home there is no configuration.</summary>
    public static ContextFile? LoadIfPresent(Func<string, string?> variable) =>
        PathFor(variable) is { } path && File.Exists(path) ? ContextFileReader.Read(path) : null;

    /// <summary>Replaces the file in one step: readers see the old or the new one.</summary>
    public void Save()
    {
        var text = new StringBuilder();
        if (Current is not null)
        {
            text.Append("current-context: ").Append(Quote(Current)).Append('\n');
        }

        text.Append(Contexts.Count == 0 ? "contexts: []\n" : "contexts:\n");
        foreach (var context in Contexts)
        {
            text.Append("  - name: ").Append(Quote(context.Name)).Append('\n');
            text.Append("    server: ").Append(Quote(context.Server)).Append('\n');
            if (context.Project.Length > 0)
            {
                text.Append("    project: ").Append(Quote(context.Project)).Append('\n');
            }
        }

        try
        {
            var directory = System.IO.Path.GetDirectoryName(System.IO.Path.GetFullPath(Path))!;
            Directory.CreateDirectory(directory);
            var fresh = System.IO.Path.Combine(directory, $".{System.IO.Path.GetFileName(Path)}.{Environment.ProcessId}");
            File.WriteAllText(fresh, text.ToString());
            File.Move(fresh, Path, overwrite: true);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw CtlException.Usage($"{Path} cannot be written: {exception.Message}");
        }
    }

    private static string Quote(string value) => $"\"{value.Replace("\\", "\\\\", StringComparison.Ordinal).Replace("\"", "\\\"", StringComparison.Ordinal)}\"";
}
