using System.Text;

namespace Hypervisor.Hosting.Yaml;

/// <summary>
/// One strict YAML document: a mapping at the top, every key once, no anchors, aliases, tags or directives, bounded in
/// size and depth. What YAML can do beyond that is either a trap for its writer or an attack on its reader.
/// </summary>
public sealed class YamlDocument
{
    /// <summary>Far above any configuration or specification written by hand; a program that needs more speaks gRPC.</summary>
    public const int MaxBytes = 1024 * 1024;

    /// <summary>The deepest message of the API nests 6 levels. Also keeps recursion over the tree shallow.</summary>
    public const int MaxDepth = 32;

    internal YamlDocument(string fileName, YamlMapping root) => (FileName, Root) = (fileName, root);

    /// <summary>As given to <see cref="Load"/>; begins every error.</summary>
    public string FileName { get; }

    /// <summary>Empty for a document without content.</summary>
    public YamlMapping Root { get; }

    /// <summary>Reads a document from text.</summary>
    /// <exception cref="InvalidYamlException">It is not YAML, or uses what is refused.</exception>
    public static YamlDocument Load(string text, string fileName)
    {
        if (Encoding.UTF8.GetByteCount(text) > MaxBytes)
        {
            throw TooLarge(fileName);
        }

        return YamlTreeBuilder.Build(text, fileName);
    }

    /// <summary>Reads a document from a file of UTF-8 text.</summary>
    /// <exception cref="InvalidYamlException">It cannot be read, is not UTF-8, is not YAML, or uses what is refused.</exception>
    public static YamlDocument LoadFile(string path)
    {
        try
        {
            // Not File.ReadAllText: a device or a file that grows has no length to check first.
            using var stream = File.OpenRead(path);
            var buffer = new byte[MaxBytes + 1];
            var length = stream.ReadAtLeast(buffer, buffer.Length, throwOnEndOfStream: false);
            if (length > MaxBytes)
            {
                throw TooLarge(path);
            }

            var content = buffer.AsSpan(0, length);
            if (content.StartsWith(Encoding.UTF8.Preamble))
            {
                content = content[Encoding.UTF8.Preamble.Length..];
            }

            return Load(new UTF8Encoding(false, throwOnInvalidBytes: true).GetString(content), path);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw new InvalidYamlException([$"{path}: cannot be read ({exception.Message}) – check that it exists and its permissions"]);
        }
        catch (DecoderFallbackException)
        {
            throw new InvalidYamlException([$"{path}: is not UTF-8 text – save it as UTF-8"]);
        }
    }

    /// <summary>
    /// The document as JSON text, by YAML 1.2's core schema: unquoted null, true, false and numbers keep their type, all
    /// else is a string.
    /// </summary>
    /// <exception cref="InvalidYamlException">A number has no JSON form or is ambiguous (leading zeros).</exception>
    public string ToJson() => YamlJson.Write(this);

    /// <summary>
    /// The line of the value at a path of keys and list indices, "spec.disks.0.kind"; of its nearest ancestor when the path
    /// ends early; 1 for the document itself.
    /// </summary>
    public int LineOf(string path)
    {
        YamlValue current = Root;
        var line = Root.Line;
        foreach (var segment in path.Split('.'))
        {
            if (current is YamlMapping mapping && mapping.Find(segment) is { } entry)
            {
                (current, line) = (entry.Value, entry.Line);
            }
            else if (current is YamlSequence sequence && int.TryParse(segment, out var index) && index >= 0 && index < sequence.Items.Count)
            {
                current = sequence.Items[index];
                line = current.Line;
            }
            else
            {
                break;
            }
        }

        return line;
    }

    /// <summary>
    /// Lines of every key of that name, anywhere, in order: protobuf's JSON parser names an unknown field without saying
    /// where it stands.
    /// </summary>
    public IReadOnlyList<int> LinesOfKey(string key)
    {
        List<int> lines = [];
        Collect(Root);
        return lines;

        void Collect(YamlValue value)
        {
            if (value is YamlMapping mapping)
            {
                foreach (var entry in mapping.Entries)
                {
                    if (entry.Key == key)
                    {
                        lines.Add(entry.Line);
                    }

                    Collect(entry.Value);
                }
            }
            else if (value is YamlSequence sequence)
            {
                foreach (var item in sequence.Items)
                {
                    Collect(item);
                }
            }
        }
    }

    private static InvalidYamlException TooLarge(string fileName) =>
        new([$"{fileName}: is larger than {MaxBytes / 1024} KiB – this is not a configuration file, or it must be split"]);
}
