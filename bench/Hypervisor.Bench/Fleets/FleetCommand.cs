using System.CommandLine;
using System.CommandLine.Parsing;
using Hypervisor.Hosting.Configuration;

namespace Hypervisor.Bench.Fleets;

/// <summary><c>hypervisor-bench fleet</c>: the benchmark, or with options a fleet of one's own choice.</summary>
internal static class FleetCommand
{
    public static Command Build()
    {
        var defaults = new FleetOptions();
        var nodes = Option("--nodes", "How many nodes (default 10000).", defaults.Nodes, Values.WholeNumber(1, FleetOptions.MaxNodes));
        var server = Option<HostPort?>("--server", "HOST:PORT of a server without real nodes (default: one is started for the run).", null, Address);
        var script = new Option<string?>("--script") { Description = "YAML file: what the nodes are and what happens to them (see configs/fleet.example.yaml)." };
        var lasts = Option("--for", "How long to go on once every node is registered (default 60s).", defaults.Lasts, Values.Duration(TimeSpan.FromSeconds(1), TimeSpan.FromDays(7)));
        var prefix = Option<string>("--prefix", "Begins the nodes' names (default sim).", defaults.Prefix, Prefix);
        var command = new Command("fleet", "Simulated nodes that register, beat and take instances over real connections, and what they cost the server.")
        {
            nodes, server, script, lasts, prefix,
        };
        command.SetAction((parsed, cancellationToken) =>
        {
            var options = new FleetOptions
            {
                Nodes = parsed.GetRequiredValue(nodes),
                Server = parsed.GetValue(server),
                Script = parsed.GetValue(script) is { } path ? FleetScriptLoader.LoadFile(path) : defaults.Script,
                Lasts = parsed.GetRequiredValue(lasts),
                Prefix = parsed.GetRequiredValue(prefix),
            };
            return BenchCommand.RunOneAsync(() => FleetRun.RunAsync(options, cancellationToken));
        });
        return command;
    }

    /// <summary>An option whose errors name it, the value and the remedy.</summary>
    public static Option<T> Option<T>(string name, string description, T otherwise, ValueParser<T> parse) => new(name)
    {
        Description = description,
        DefaultValueFactory = _ => otherwise,
        CustomParser = result => Parse(result, name, parse),
    };

    private static T? Parse<T>(ArgumentResult result, string name, ValueParser<T> parse)
    {
        var text = result.Tokens[0].Value;
        if (parse(text, out var value) is not { } complaint)
        {
            return value;
        }

        result.AddError($"{name}: {complaint.What} ({Hypervisor.Hosting.Yaml.DisplayText.Of(text)}) – {complaint.Remedy}");
        return default;
    }

    private static Complaint? Address(string text, out HostPort? value)
    {
        var complaint = Values.PeerAddress(text, out var address);
        value = address;
        return complaint;
    }

    private static Complaint? Prefix(string text, out string value) =>
        Values.Label(text, out value) ?? (text.Length > 40 ? new("is too long", "at most 40 characters, for a number follows") : null);
}
