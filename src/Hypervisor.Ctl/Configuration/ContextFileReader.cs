using System.Globalization;
using Hypervisor.Ctl.Errors;
using Hypervisor.Hosting.Yaml;

namespace Hypervisor.Ctl.Configuration;

/// <summary>Reads the configuration file strictly: every mistake with its line.</summary>
internal static class ContextFileReader
{
    /// <exception cref="CtlException">The file is not as it should be.</exception>
    public static ContextFile Read(string path)
    {
        var errors = new List<string>();
        try
        {
            var root = YamlDocument.LoadFile(path).Root;
            string? current = null;
            var contexts = new List<Context>();
            foreach (var entry in root.Entries)
            {
                switch (entry.Key)
                {
                    case "current-context":
                        current = Text(entry, path, errors);
                        break;
                    case "contexts" when entry.Value is YamlSequence list:
                        contexts.AddRange(list.Items.Select(item => ReadContext(item, path, errors)).OfType<Context>());
                        break;
                    case "contexts":
                        errors.Add(At(path, entry.Line, "contexts: wants a list"));
                        break;
                    default:
                        errors.Add(At(path, entry.Line, $"{entry.Key}: is not known; known are current-context and contexts"));
                        break;
                }
            }

            if (errors.Count == 0)
            {
                return new(path, string.IsNullOrEmpty(current) ? null : current, contexts);
            }
        }
        catch (InvalidYamlException exception)
        {
            errors.AddRange(exception.Errors);
        }

        throw CtlException.Usage($"{path} is not a valid configuration.", string.Join('\n', errors.Select(Output.TerminalText.Clean)));
    }

    private static Context? ReadContext(YamlValue item, string path, List<string> errors)
    {
        if (item is not YamlMapping mapping)
        {
            errors.Add(At(path, item.Line, "contexts: each wants name, server and project"));
            return null;
        }

        string name = "", server = "", project = "";
        foreach (var entry in mapping.Entries)
        {
            switch (entry.Key)
            {
                case "name":
                    name = Text(entry, path, errors);
                    break;
                case "server":
                    server = Text(entry, path, errors);
                    break;
                case "project":
                    project = Text(entry, path, errors);
                    break;
                default:
                    errors.Add(At(path, entry.Line, $"contexts.{entry.Key}: is not known; known are name, server and project"));
                    break;
            }
        }

        if (name.Length == 0 || server.Length == 0)
        {
            errors.Add(At(path, item.Line, "contexts: a context needs a name and a server"));
        }

        return new(name, server, project);
    }

    private static string Text(YamlEntry entry, string path, List<string> errors)
    {
        if (entry.Value is YamlScalar scalar)
        {
            return scalar.IsNull ? "" : scalar.Text;
        }

        errors.Add(At(path, entry.Line, $"{entry.Key}: wants a value"));
        return "";
    }

    private static string At(string path, int line, string what) => $"{path}:{line.ToString(CultureInfo.InvariantCulture)}: {what}";
}
