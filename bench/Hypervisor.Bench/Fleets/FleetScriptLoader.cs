using Hypervisor.Hosting.Configuration;
using Hypervisor.Hosting.Yaml;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Bench.Fleets;

/// <summary>Reads and judges a script.</summary>
internal static class FleetScriptLoader
{
    private const int MaxPools = 64;
    private const int MaxEvents = 1000;
    private const int MaxZones = 256;

    /// <summary>No variable of the environment changes what a script says.</summary>
    private const string NoPrefix = "HYPERVISOR_FLEET";

    private static readonly TimeSpan LongestLatency = TimeSpan.FromMinutes(10);
    private static readonly TimeSpan LongestRun = TimeSpan.FromDays(7);

    /// <exception cref="ConfigurationException">Everything that is wrong, each with file, line, key, value and remedy.</exception>
    public static FleetScript LoadFile(string path)
    {
        try
        {
            return Parse(YamlDocument.LoadFile(path));
        }
        catch (InvalidYamlException exception)
        {
            throw new ConfigurationException(exception.Errors);
        }
    }

    /// <inheritdoc cref="LoadFile"/>
    public static FleetScript Parse(YamlDocument document)
    {
        var reader = new ConfigurationReader(document, NoPrefix, new Dictionary<string, string>());
        var script = new FleetScript();
        var pools = reader.Sections("pools", MaxPools).Select(section => Pool(reader, section)).ToList();
        script = script with
        {
            Seed = reader.Value("seed", script.Seed, Values.WholeNumber(0, int.MaxValue)),
            Pools = pools.Count > 0 ? pools : script.Pools,
            Events = [.. reader.Sections("events", MaxEvents).Select(section => Event(reader, section, pools)).OrderBy(each => each.At)],
        };
        reader.ThrowIfInvalid();
        return script;
    }

    private static NodePool Pool(ConfigurationReader reader, string section)
    {
        var defaults = new NodePool();
        var zones = reader.List<string>($"{section}.zones", defaults.Zones, MaxZones, Values.Label);
        return new()
        {
            Share = reader.Value($"{section}.share", defaults.Share, Values.WholeNumber(1, 100_000)),
            Cpus = reader.Value($"{section}.cpus", defaults.Cpus, Values.WholeNumber(1, 4096)),
            MemoryBytes = reader.Value($"{section}.memory", defaults.MemoryBytes, Values.Size(1L << 26, 1L << 46)),
            DiskBytes = reader.Value($"{section}.disk", defaults.DiskBytes, Values.Size(1L << 26, 1L << 50)),
            Region = reader.Value<string>($"{section}.region", defaults.Region, Values.Label),
            Zones = zones.Count > 0 ? zones : defaults.Zones,
            Types = reader.List($"{section}.types", defaults.Types, maxItems: 3, Types),
            Labels = reader.Map($"{section}.labels", maxItems: 32, Label),
            Start = reader.Value<Latency>($"{section}.start", defaults.Start, Range),
            Stop = reader.Value<Latency>($"{section}.stop", defaults.Stop, Range),
            Beat = reader.Value<Latency>($"{section}.beat", defaults.Beat, Range),
        };
    }

    private static FleetEvent Event(ConfigurationReader reader, string section, IReadOnlyList<NodePool> pools)
    {
        var defaults = new FleetEvent();
        foreach (var needed in new[] { "at", "do" })
        {
            if (!reader.IsSet($"{section}.{needed}"))
            {
                reader.Fail("is missing", needed == "at" ? "write when it happens, 30s" : "write what happens: silence, die, refuse, slow or return", $"{section}.{needed}", "events");
            }
        }

        var read = new FleetEvent
        {
            At = reader.Value($"{section}.at", defaults.At, Values.Duration(TimeSpan.Zero, LongestRun)),
            Conduct = reader.Value($"{section}.do", defaults.Conduct, Conducts),
            For = reader.Value<TimeSpan?>($"{section}.for", null, Span),
            Region = reader.Value<string>($"{section}.region", defaults.Region, Values.Label),
            Zone = reader.Value<string>($"{section}.zone", defaults.Zone, Values.Label),
            Node = reader.Value<string>($"{section}.node", defaults.Node, Values.Label),
            Percent = reader.Value($"{section}.percent", defaults.Percent, Values.WholeNumber(1, 100)),
        };
        Known(read.Region, pools.Select(pool => pool.Region), "region");
        Known(read.Zone, pools.SelectMany(pool => pool.Zones), "zone");
        if (read.Conduct == Conduct.Normal && read.For is not null)
        {
            reader.Fail("says how long a return lasts", "remove it: a return is for good", $"{section}.for");
        }

        return read;

        void Known(string value, IEnumerable<string> of, string key)
        {
            if (value.Length > 0 && !of.Contains(value))
            {
                reader.Fail($"is of no pool ({DisplayText.Of(value)})", $"write the {key} of a pool", $"{section}.{key}");
            }
        }
    }

    private static ValueParser<Conduct> Conducts { get; } = Values.OneOf(
        ("silence", Conduct.Silent), ("die", Conduct.Dead), ("refuse", Conduct.Refusing), ("slow", Conduct.Slow), ("return", Conduct.Normal));

    private static ValueParser<InstanceType> Types { get; } = Values.OneOf(
        ("container", InstanceType.Container), ("microvm", InstanceType.Microvm), ("vm", InstanceType.Vm));

    private static Complaint? Span(string text, out TimeSpan? value)
    {
        var complaint = Values.Duration(TimeSpan.FromMilliseconds(10), LongestRun)(text, out var span);
        value = span;
        return complaint;
    }

    /// <summary>"200ms", or "200ms-2s" for something in between.</summary>
    private static Complaint? Range(string text, out Latency value)
    {
        var (from, to) = text.Split('-', 2, StringSplitOptions.TrimEntries) is [var least, var most] ? (least, most) : (text, text);
        var duration = Values.Duration(TimeSpan.Zero, LongestLatency);
        var complaint = duration(from, out var shortest);
        complaint = duration(to, out var longest) ?? complaint;
        value = new(shortest, longest);
        return complaint is not null ? complaint with { Remedy = "write a duration as 200ms, or a range as 200ms-2s, up to 10m" }
            : longest < shortest ? new("ends before it begins", $"write {to}-{from}")
            : null;
    }

    private static Complaint? Label(string key, string value) =>
        LabelSyntax.KeyProblem(key) is not null ? new("is not a label's key", "write a key such as rack or example.com/rack")
            : LabelSyntax.ValueProblem(value) is null ? null
            : new("is not a label's value", "at most 63 letters, digits, '-', '_' and '.', beginning and ending with a letter or digit");
}
