namespace Hypervisor.FirecrackerStandIn;

/// <summary>Firecracker's own options, of which the stand-in takes those that mean something here and refuses the rest.</summary>
internal sealed record CommandLine
{
    public const string Version = "1.17.0-dev";

    public string ApiSocket { get; private init; } = "/run/firecracker.socket";

    public string Id { get; private init; } = "anonymous-instance";

    public bool ShowVersion { get; private init; }

    public string? Error { get; private init; }

    public static CommandLine Parse(IReadOnlyList<string> arguments)
    {
        var line = new CommandLine();
        for (var index = 0; index < arguments.Count; index++)
        {
            var option = arguments[index];
            switch (option)
            {
                case "--version":
                    line = line with { ShowVersion = true };
                    break;
                case "--no-seccomp" or "--boot-timer" or "--show-level" or "--enable-pci":
                    break;
                case "--api-sock" or "--id" or "--start-time-us" or "--start-time-cpu-us" or "--parent-cpu-time-us" or "--http-api-max-payload-size":
                    if (++index >= arguments.Count)
                    {
                        return line with { Error = $"The argument '{option}' requires a value, but none was supplied." };
                    }

                    line = option switch
                    {
                        "--api-sock" => line with { ApiSocket = arguments[index] },
                        "--id" => line with { Id = arguments[index] },
                        _ => line,
                    };
                    break;
                case "--config-file" or "--no-api" or "--metadata" or "--log-path" or "--level" or "--metrics-path" or "--seccomp-filter":
                    return line with { Error = $"The stand-in has no '{option}': everything is configured through the API." };
                default:
                    return line with { Error = $"Found argument '{option}' which wasn't expected, or isn't valid in this context." };
            }
        }

        return line.Id.Length is 0 or > 64 || !line.Id.All(character => char.IsAsciiLetterOrDigit(character) || character == '-')
            ? line with { Error = $"Invalid instance ID: {line.Id}" }
            : line;
    }
}
