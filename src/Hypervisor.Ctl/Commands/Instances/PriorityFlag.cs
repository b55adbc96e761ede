using System.Globalization;
using Hypervisor.Ctl.Errors;

namespace Hypervisor.Ctl.Commands.Instances;

/// <summary>A priority by the name of its class, or as its number.</summary>
internal static class PriorityFlag
{
    /// <summary>Far apart, so that there is room between them.</summary>
    private static readonly (string Name, int Value)[] _classes = [("low", -100), ("normal", 0), ("high", 100), ("critical", 1000)];

    /// <exception cref="CtlException">Neither.</exception>
    public static int Parse(string text)
    {
        foreach (var (name, value) in _classes)
        {
            if (string.Equals(name, text, StringComparison.OrdinalIgnoreCase))
            {
                return value;
            }
        }

        return int.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var number)
            ? number
            : throw CtlException.Usage($"--priority '{text}' is no priority.", "It is low (-100), normal (0), high (100), critical (1000), or a number from -1000 to 1000.");
    }
}
