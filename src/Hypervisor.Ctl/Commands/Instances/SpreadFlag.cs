using System.Globalization;
using Hypervisor.Ctl.Errors;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Ctl.Commands.Instances;

/// <summary>"app=web", "app=web@node", "app=web@zone:2": which instances are counted, in what places, and how far these may differ.</summary>
internal static class SpreadFlag
{
    /// <param name="own">"@zone" alone means the members of the group that is described.</param>
    /// <exception cref="CtlException">It is none of these.</exception>
    public static SpreadConstraint Parse(string flag, bool preferred, string text, bool own = false)
    {
        // Neither selectors nor keys of labels have a ':' or an '@'.
        var colon = text.IndexOf(':', StringComparison.Ordinal);
        var parts = (colon < 0 ? text : text[..colon]).Split('@', StringSplitOptions.TrimEntries);
        if (parts is not ([{ Length: > 0 }] or [_, { Length: > 0 }]) || (parts[0].Length == 0 && !own))
        {
            throw Wrong(flag, $"'{text}' does not say which instances.");
        }

        var spread = new SpreadConstraint { Selector = parts[0], Topology = parts.Length == 2 ? parts[1] : "", Preferred = preferred };
        if (colon >= 0)
        {
            var skew = text[(colon + 1)..];
            spread.MaxSkew = int.TryParse(skew, NumberStyles.None, CultureInfo.InvariantCulture, out var count) && count > 0
                ? count
                : throw Wrong(flag, $"'{skew}' is no number of instances that one place may have more than another.");
        }

        return spread;
    }

    private static CtlException Wrong(string flag, string what) =>
        CtlException.Usage($"{flag}: {what}", $"Write SELECTOR[@node|zone|region|LABEL][:MAXSKEW], for example {flag} app=web@zone:1.");
}
