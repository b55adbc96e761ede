using System.Globalization;
using YamlDotNet.Core;
using YamlDotNet.Core.Events;

namespace Hypervisor.Hosting.Yaml;

/// <summary>
/// Builds the tree from the parser's events rather than through the library's own document model: that one resolves
/// aliases and recurses as deep as the input asks for before anyone can refuse it.
/// </summary>
internal sealed class YamlTreeBuilder
{
    /// <summary>A file that is wrong in this many places is wrong as a whole.</summary>
    private const int MaxErrors = 20;

    private readonly string _fileName;
    private readonly Parser _parser;
    private readonly List<string> _errors = [];

    private YamlTreeBuilder(string text, string fileName)
    {
        _fileName = fileName;
        _parser = new Parser(new StringReader(text));
    }

    public static YamlDocument Build(string text, string fileName)
    {
        var builder = new YamlTreeBuilder(text, fileName);
        YamlDocument? document = null;
        try
        {
            document = builder.ReadDocument();
        }
        catch (YamlException exception)
        {
            builder.Error(
                (int)exception.Start.Line, $"is not valid YAML: {FirstLine(exception.Message)}", "check indentation, colons and quotes");
        }
        catch (RefusedException)
        {
            // What led here is in the list of errors.
        }

        return builder._errors.Count == 0 && document is not null ? document : throw new InvalidYamlException(builder._errors);
    }

    private YamlDocument ReadDocument()
    {
        _parser.Consume<StreamStart>();
        if (_parser.Accept<StreamEnd>(out _))
        {
            return new YamlDocument(_fileName, new YamlMapping([], 1, 1));
        }

        var start = _parser.Consume<DocumentStart>();
        // The parser itself declares "!" and "!!"; what a document uses of them is refused as a tag.
        if (start.Version is not null || start.Tags is not null && start.Tags.Any(tag => tag.Handle is not ("!" or "!!")))
        {
            Error(Line(start), "has a directive (%YAML or %TAG)", "remove it");
        }

        var value = ReadValue(depth: 0);
        _parser.Consume<DocumentEnd>();
        if (_parser.Accept<DocumentStart>(out var second))
        {
            Error(Line(second), "begins a second document", "keep one document per file");
            throw new RefusedException();
        }

        if (value is YamlScalar { IsNull: true })
        {
            return new YamlDocument(_fileName, new YamlMapping([], value.Line, value.Column));
        }

        if (value is not YamlMapping root)
        {
            Error(value.Line, $"is {value.Kind}", "the document must consist of \"key: value\" lines");
            throw new RefusedException();
        }

        return new YamlDocument(_fileName, root);
    }

    private YamlValue ReadValue(int depth)
    {
        var current = _parser.Current ?? (_parser.MoveNext() ? _parser.Current! : throw new RefusedException());
        if (depth > YamlDocument.MaxDepth)
        {
            Error(Line(current), $"nests deeper than {YamlDocument.MaxDepth} levels", "check the indentation");
            throw new RefusedException();
        }

        if (current is AnchorAlias alias)
        {
            Error(Line(current), $"refers to an anchor (*{Shown(alias.Value.Value)})", "write the value out");
            _parser.MoveNext();
            return new YamlScalar("", Plain: false, Line(current), Column(current));
        }

        if (current is NodeEvent node)
        {
            if (!node.Anchor.IsEmpty)
            {
                Error(
                    Line(current), $"defines an anchor (&{Shown(node.Anchor.Value)})", "remove it; anchors and aliases are not used here");
            }

            if (!node.Tag.IsEmpty)
            {
                Error(Line(current), $"has a tag ({Shown(node.Tag.ToString())})", "remove it; quote the value if it is meant as text");
            }
        }

        return current switch
        {
            Scalar => ReadScalar(),
            SequenceStart => ReadSequence(depth),
            MappingStart => ReadMapping(depth),
            _ => throw new RefusedException(),
        };
    }

    private YamlScalar ReadScalar()
    {
        var scalar = _parser.Consume<Scalar>();
        return new YamlScalar(scalar.Value, scalar.Style == ScalarStyle.Plain, Line(scalar), Column(scalar));
    }

    private YamlSequence ReadSequence(int depth)
    {
        var start = _parser.Consume<SequenceStart>();
        List<YamlValue> items = [];
        while (!_parser.TryConsume<SequenceEnd>(out _))
        {
            items.Add(ReadValue(depth + 1));
        }

        return new YamlSequence(items, Line(start), Column(start));
    }

    private YamlMapping ReadMapping(int depth)
    {
        var start = _parser.Consume<MappingStart>();
        List<YamlEntry> entries = [];
        Dictionary<string, int> seen = new(StringComparer.Ordinal);
        while (!_parser.TryConsume<MappingEnd>(out _))
        {
            var key = ReadValue(depth + 1);
            var value = ReadValue(depth + 1);
            if (key is not YamlScalar { Text.Length: > 0 } name)
            {
                Error(key.Line, key is YamlScalar ? "has an empty key" : $"uses {key.Kind} as a key", "keys are plain words");
            }
            else if (!seen.TryAdd(name.Text, name.Line))
            {
                Error(name.Line, $"repeats the key \"{Shown(name.Text)}\" of line {seen[name.Text].ToString(CultureInfo.InvariantCulture)}", "keep one of them");
            }
            else
            {
                entries.Add(new YamlEntry(name.Text, value, name.Line));
            }
        }

        return new YamlMapping(entries, Line(start), Column(start));
    }

    private void Error(int line, string what, string remedy)
    {
        _errors.Add($"{_fileName}:{line.ToString(CultureInfo.InvariantCulture)}: {what} – {remedy}");
        if (_errors.Count >= MaxErrors)
        {
            throw new RefusedException();
        }
    }

    private static int Line(ParsingEvent current) => (int)current.Start.Line;

    private static int Column(ParsingEvent current) => (int)current.Start.Column;

    private static string FirstLine(string message) => Shown(message.Split('\n')[0].TrimEnd('.', '\r'));

    private static string Shown(string text) => DisplayText.Of(text);

    /// <summary>Nothing more can be read; the reason is already in the list.</summary>
    private sealed class RefusedException : Exception;
}
