namespace Hypervisor.Agent;

/// <summary>The agent's few flags.</summary>
/// <param name="ConfigPath">Null means defaults and environment only.</param>
/// <param name="FakeDriver">Containers that exist in memory only, for tests of everything around them.</param>
/// <param name="TearDownNetwork">Remove the node's network instead of running, for a node that leaves.</param>
/// <param name="Error">What is wrong with the arguments, or null.</param>
internal sealed record CommandLine(string? ConfigPath, bool FakeDriver, bool TearDownNetwork, bool ShowVersion, bool ShowHelp, string? Error = null)
{
    public const string Help =
        """
        hypervisor-agent: runs instances on this machine for a Zixiao control plane.

        Usage: hypervisor-agent [--config FILE] [--teardown-network]

          --config FILE   YAML configuration; every key can also be set by environment variable
                          (server_addr: HYPERVISOR_AGENT_SERVER_ADDR). Without it defaults apply.
          --teardown-network
                          remove this node's network, instances' connections included, put the
                          kernel's settings back as they were, and end
          --fake-driver   run no instances, only pretend to: for testing a control plane
          --version       print the version
          --help          print this

        SIGTERM stops the agent; the instances keep running and are taken over when it starts again.
        """;

    public static CommandLine Parse(IReadOnlyList<string> arguments)
    {
        var line = new CommandLine(null, false, false, false, false);
        for (var i = 0; i < arguments.Count; i++)
        {
            var argument = arguments[i];
            if (argument == "--config" && i + 1 < arguments.Count)
            {
                line = line with { ConfigPath = arguments[++i] };
                continue;
            }

            line = argument switch
            {
                "--fake-driver" => line with { FakeDriver = true },
                "--teardown-network" => line with { TearDownNetwork = true },
                "--version" => line with { ShowVersion = true },
                "--help" or "-h" => line with { ShowHelp = true },
                "--config" => line with { Error = "--config needs a file name" },
                _ when argument.StartsWith("--config=", StringComparison.Ordinal) => line with { ConfigPath = argument["--config=".Length..] },
                _ => line with { Error = $"unknown argument \"{argument}\"; see --help" },
            };
        }

        return line;
    }
}
