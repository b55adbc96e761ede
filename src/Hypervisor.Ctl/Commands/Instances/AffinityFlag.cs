using Hypervisor.Ctl.Errors;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Ctl.Commands.Instances;

/// <summary>"app=db", "app=db@zone", "tier in (a,b)@example.com/rack": which instances, and what one place is.</summary>
internal static class AffinityFlag
{
    /// <param name="own">"@zone" alone means the members of the group that is described.</param>
    /// <exception cref="CtlException">It is none of these.</exception>
    public static AffinityTerm Parse(string flag, bool preferred, string text, bool own = false)
    {
        // Neither selectors nor keys of labels have an '@'. What a selector may be is for the server to say.
        var parts = text.Split('@', StringSplitOptions.TrimEntries);
        return parts is [{ Length: > 0 }] or [_, { Length: > 0 }] && (parts[0].Length > 0 || own)
            ? new() { Selector = parts[0], Topology = parts.Length == 2 ? parts[1] : "", Preferred = preferred }
            : throw CtlException.Usage(
                $"{flag}: '{text}' does not say which instances.",
                $"Write SELECTOR[@node|zone|region|LABEL], for example {flag} app=web@zone.");
    }
}
