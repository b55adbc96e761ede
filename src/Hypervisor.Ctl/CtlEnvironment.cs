using Hypervisor.Hosting.Randomness;

namespace Hypervisor.Ctl;

/// <summary>Everything a command may touch outside the server: streams, environment, clock, randomness.</summary>
internal sealed class CtlEnvironment
{
    /// <summary>Results. UTF-8, no byte order mark; flushed by whoever runs a command.</summary>
    public required TextWriter Out { get; init; }

    /// <summary>Errors and progress.</summary>
    public required TextWriter Error { get; init; }

    /// <summary>The bytes behind <see cref="Out"/>, for what an instance writes; flush <see cref="Out"/> first.</summary>
    public required Stream RawOut { get; init; }

    public required Stream RawError { get; init; }

    /// <summary>Opened only by commands that read standard input.</summary>
    public required Func<Stream> OpenInput { get; init; }

    public required bool OutIsTerminal { get; init; }

    public required bool ErrorIsTerminal { get; init; }

    /// <summary>Columns of the terminal behind <see cref="Out"/>; asked only when it is one.</summary>
    public required Func<int> TerminalWidth { get; init; }

    public required Func<string, string?> Variable { get; init; }

    public required TimeProvider Time { get; init; }

    public required IRandomSource Random { get; init; }

    /// <summary>https://no-color.org: any non-empty value switches colour off.</summary>
    public bool UseColour => OutIsTerminal && NoColourUnset;

    public bool UseColourOnError => ErrorIsTerminal && NoColourUnset;

    private bool NoColourUnset => string.IsNullOrEmpty(Variable("NO_COLOR")) && Variable("TERM") != "dumb";
}
