namespace Hypervisor.Ctl.Output;

/// <summary>One line on the error stream that is rewritten in place; silent unless that stream is a terminal.</summary>
internal sealed class ProgressLine(CtlEnvironment environment)
{
    private string _shown = "";

    public void Show(string text)
    {
        if (!environment.ErrorIsTerminal || text == _shown)
        {
            return;
        }

        var clean = TerminalText.Clean(text);
        var width = environment.OutIsTerminal ? environment.TerminalWidth() : 80;
        environment.Error.Write($"\r{(clean.Length < width ? clean : clean[..(width - 1)])}\e[K");
        environment.Error.Flush();
        _shown = text;
    }

    /// <summary>Wipes the line, so that the next output begins on a clean one.</summary>
    public void Clear()
    {
        if (_shown.Length > 0)
        {
            environment.Error.Write("\r\e[K");
            environment.Error.Flush();
            _shown = "";
        }
    }
}
