using System.CommandLine;
using System.Globalization;
using Hypervisor.Ctl.Errors;

namespace Hypervisor.Ctl.Commands;

/// <summary>"gpu=2", or "gpu" for one of them; "gpu-" removes it.</summary>
internal static class DeviceFlag
{
    public static Option<string[]> Of(string name, string description) => new(name)
    {
        Description = $"{description}; \"NAME-\" removes it (repeatable)",
        HelpName = "NAME[=COUNT]",
        Arity = ArgumentArity.OneOrMore,
    };

    /// <summary>In the order in which they were typed; no count removes. Whether a name or a count will do is the server's to say.</summary>
    /// <exception cref="CtlException">One is none of these.</exception>
    public static IReadOnlyList<(string Name, int? Count)> Parse(string flag, string[] values) => [.. values.Select(value => Parse(flag, value))];

    public static void Merge(IDictionary<string, int> devices, IEnumerable<(string Name, int? Count)> typed)
    {
        foreach (var (name, count) in typed)
        {
            if (count is { } some)
            {
                devices[name] = some;
            }
            else
            {
                devices.Remove(name);
            }
        }
    }

    private static (string Name, int? Count) Parse(string flag, string value)
    {
        var equals = value.IndexOf('=', StringComparison.Ordinal);
        if (equals < 0 && value.Length > 0)
        {
            return value.Length > 1 && value.EndsWith('-') ? (value[..^1], null) : (value, 1);
        }

        return equals > 0 && int.TryParse(value.AsSpan(equals + 1), NumberStyles.None, CultureInfo.InvariantCulture, out var count)
            ? (value[..equals], count)
            : throw CtlException.Usage($"{flag}: '{value}' is no device.", "Write NAME=COUNT, for example gpu=2, or NAME alone for one of them.");
    }
}
