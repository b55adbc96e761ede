using System.Reflection;

namespace Hypervisor.Server;

/// <summary>What the program was called with.</summary>
/// <param name="ConfigurationFile">Null means defaults and the environment alone.</param>
/// <param name="RestoreFile">When not null: fill the empty store from this backup instead of serving.</param>
/// <param name="Text">When not null: to be printed instead of running.</param>
/// <param name="ExitCode">With <paramref name="Text"/>: 0, or 2 for a usage error.</param>
internal sealed record CommandLine(string? ConfigurationFile, string? RestoreFile = null, string? Text = null, int ExitCode = 0)
{
    public const string Usage =
        """
        Usage: hypervisor-server [--config FILE] [--restore BACKUP]

          --config FILE     YAML configuration; every key can also be set by environment variable.
          --restore BACKUP  Fills the configured store, which has to be empty, from a backup, and ends. Stop all servers first.
          --version         Prints the version.
          --help            Prints this.
        """;

    public static string Version { get; } =
        typeof(CommandLine).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()?.InformationalVersion ?? "unknown";

    public static CommandLine Parse(IReadOnlyList<string> arguments)
    {
        Dictionary<string, string> files = new(StringComparer.Ordinal);
        for (var i = 0; i < arguments.Count; i++)
        {
            var (option, value) = arguments[i].Split('=', 2) is [var name, var rest] ? (name, rest) : (arguments[i], null);
            switch (option)
            {
                case "--help" or "-h" when value is null:
                    return new(null, Text: Usage);
                case "--version" when value is null:
                    return new(null, Text: $"hypervisor-server {Version}");
                case "--config" or "--restore":
                    value ??= i + 1 < arguments.Count ? arguments[++i] : "";
                    if (value.Length == 0)
                    {
                        return Wrong($"{option} needs a file");
                    }

                    if (!files.TryAdd(option, value))
                    {
                        return Wrong($"{option} is given twice");
                    }

                    break;
                default:
                    return Wrong($"'{arguments[i]}' is not an option");
            }
        }

        return new(files.GetValueOrDefault("--config"), files.GetValueOrDefault("--restore"));
    }

    private static CommandLine Wrong(string what) => new(null, Text: $"hypervisor-server: {what}\n{Usage}", ExitCode: 2);
}
