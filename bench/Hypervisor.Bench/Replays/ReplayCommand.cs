using System.CommandLine;
using System.Globalization;
using Hypervisor.Bench.Fleets;
using Hypervisor.Hosting.Configuration;
using Hypervisor.Hosting.Yaml;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Bench.Replays;

/// <summary><c>hypervisor-bench replay</c>: the same demand under every combination of the settings that are given.</summary>
internal static class ReplayCommand
{
    /// <summary>More lines are no table for people.</summary>
    private const int MaxCombinations = 64;

    private static readonly ValueParser<PlacementStrategy> Strategy = Values.OneOf(
        ("binpack", PlacementStrategy.Binpack), ("spread", PlacementStrategy.Spread), ("balanced", PlacementStrategy.Balanced));

    public static Command Build()
    {
        PlacementStrategy[] strategies = [PlacementStrategy.Spread, PlacementStrategy.Binpack, PlacementStrategy.Balanced];
        var trace = new Option<string>("--trace") { Description = "JSON lines of creates and deletes with their times (see configs/demand.example.jsonl).", Required = true };
        var nodes = FleetCommand.Option("--nodes", "How many nodes.", 100, Values.WholeNumber(1, FleetOptions.MaxNodes));
        var script = new Option<string?>("--script") { Description = "YAML file whose pools say what the nodes are; its events are not looked at." };
        var strategy = FleetCommand.Option<IReadOnlyList<PlacementStrategy>>("--strategy", "Separated by commas, for instances that name none (default all three).", strategies, ListOf(Strategy));
        var cpu = FleetCommand.Option<IReadOnlyList<double>>("--overcommit-cpu", "Factors from 1 to 16, separated by commas (default 1).", [1], ListOf<double>(Factor));
        var memory = FleetCommand.Option<IReadOnlyList<double>>("--overcommit-memory", "Likewise.", [1], ListOf<double>(Factor));
        var command = new Command("replay", "A recorded demand against other settings of the scheduler, side by side: its own decisions in the trace's time, without a server.")
        {
            trace, nodes, script, strategy, cpu, memory,
        };
        command.SetAction(parsed =>
        {
            var fleet = parsed.GetValue(script) is { } path ? FleetScriptLoader.LoadFile(path) : new FleetScript();
            List<ReplaySettings> settings =
            [
                .. from each in parsed.GetRequiredValue(strategy)
                   from cpus in parsed.GetRequiredValue(cpu)
                   from memories in parsed.GetRequiredValue(memory)
                   select new ReplaySettings(each, cpus, memories),
            ];
            if (settings.Count > MaxCombinations)
            {
                throw new BadUsageException($"--strategy, --overcommit-cpu, --overcommit-memory: are {settings.Count} combinations – at most {MaxCombinations}");
            }

            var demand = DemandTraceReader.LoadFile(parsed.GetRequiredValue(trace));
            var simulated = fleet.Nodes(parsed.GetRequiredValue(nodes), "sim");
            ReplayReport.Print(parsed.InvocationConfiguration.Output, [.. settings.Select(each => new Replay(demand, simulated, each).Run())]);
        });
        return command;
    }

    private static ValueParser<IReadOnlyList<T>> ListOf<T>(ValueParser<T> parse) => (string text, out IReadOnlyList<T> values) =>
    {
        var parts = text.Split(',', StringSplitOptions.TrimEntries);
        var read = new List<T>();
        values = read;
        foreach (var part in parts)
        {
            if (parse(part, out var value) is { } complaint)
            {
                return complaint with { What = $"{complaint.What}: {DisplayText.Of(part)}" };
            }

            if (read.Contains(value))
            {
                return new($"repeats {DisplayText.Of(part)}", "keep one of them");
            }

            read.Add(value);
        }

        return null;
    };

    private static Complaint? Factor(string text, out double value) =>
        double.TryParse(text, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out value) && value is >= 1 and <= Server.Limits.Agents.Overcommit
            ? null
            : new("is not a factor", $"write a number from 1 to {Server.Limits.Agents.Overcommit}, 1.5");
}
