using Google.Protobuf;

namespace Hypervisor.Ctl.Output;

/// <summary>Writes objects in the format that <c>-o</c> asked for.</summary>
internal sealed class Printer(CtlEnvironment environment, OutputFormat format)
{
    private static readonly JsonFormatter Indented = new(JsonFormatter.Settings.Default.WithIndentation("  "));
    private bool _wroteDocument;

    public OutputFormat Format { get; } = format;

    public bool ForPeople => Format is OutputFormat.Table or OutputFormat.Wide;

    public static string Json(IMessage message) => Indented.Format(message);

    /// <summary>One message as JSON or YAML; further YAML messages become further documents.</summary>
    public void WriteDocument(IMessage message)
    {
        if (Format == OutputFormat.Yaml)
        {
            if (_wroteDocument)
            {
                environment.Out.Write("---\n");
            }

            environment.Out.Write(YamlText.FromJson(JsonFormatter.Default.Format(message)));
        }
        else
        {
            environment.Out.WriteLine(Json(message));
        }

        _wroteDocument = true;
    }

    /// <summary>One line of JSON or one YAML document: what a watch prints per event.</summary>
    public void WriteEvent(IMessage message)
    {
        if (Format == OutputFormat.Yaml)
        {
            environment.Out.Write("---\n");
            environment.Out.Write(YamlText.FromJson(JsonFormatter.Default.Format(message)));
        }
        else
        {
            environment.Out.WriteLine(JsonFormatter.Default.Format(message));
        }
    }

    public TableWriter Table(string[] titles) =>
        new(environment.Out, titles, environment.UseColour, environment.OutIsTerminal ? environment.TerminalWidth() : null);

    /// <summary>"Title: value" lines with the values aligned; empty values are left out.</summary>
    public void WriteDetails(params ReadOnlySpan<(string Title, string? Value)> details)
    {
        var width = 0;
        foreach (var (title, value) in details)
        {
            width = string.IsNullOrEmpty(value) ? width : Math.Max(width, title.Length);
        }

        foreach (var (title, value) in details)
        {
            if (!string.IsNullOrEmpty(value))
            {
                environment.Out.WriteLine($"{title}:{new string(' ', width - title.Length + 2)}{TerminalText.Clean(value)}");
            }
        }
    }

    public void WriteName(string name) => environment.Out.WriteLine(TerminalText.Clean(name));

    public void WriteLine(string line) => environment.Out.WriteLine(TerminalText.Clean(line));
}
