using System.Reflection;

namespace Hypervisor.Server;

/// <summary>What the program was called with.</summary>
/// <param name="ConfigurationFile">Null means defaults and the environment alone.</param>
/// <param name="Text">When not null: to be printed instead of running.</param>
/// <param name="ExitCode">With <paramref name="Text"/>: 0, or 2 for a usage error.</param>
internal sealed record CommandLine(string? ConfigurationFile, string? Text = null, int ExitCode = 0)
{
    public const string Usage =
        """
        Usage: hypervisor-server [--config FILE]

          --config FILE   YAML configuration; every key can also be set by environment variable.
          --version       Prints the version.
          --help          Prints this.
        """;

    public static string Version { get; } =
        typeof(CommandLine).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()?.InformationalVersion ?? "unknown";

    public static CommandLine Parse(IReadOnlyList<string> arguments)
    {
        string? file = null;
        for (var i = 0; i < arguments.Count; i++)
        {
            switch (arguments[i])
            {
                case "--help" or "-h":
                    return new(null, Usage);
                case "--version":
                    return new(null, $"hypervisor-server {Version}");
                case "--config" when i + 1 < arguments.Count && file is null:
                    file = arguments[++i];
                    break;
                case var argument when argument.StartsWith("--config=", StringComparison.Ordinal) && file is null:
                    file = argument["--config=".Length..];
                    break;
                case "--config":
                    return Wrong(file is null ? "--config needs a file" : "--config is given twice");
                default:
                    return Wrong($"'{arguments[i]}' is not an option");
            }
        }

        return file is "" ? Wrong("--config needs a file") : new(file);
    }

    private static CommandLine Wrong(string what) => new(null, $"hypervisor-server: {what}\n{Usage}", 2);
}
