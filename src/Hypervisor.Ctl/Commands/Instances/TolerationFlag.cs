using Hypervisor.Ctl.Errors;
using Hypervisor.Ctl.Specs;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Ctl.Commands.Instances;

/// <summary>"gpu", "gpu=a100", "gpu:no-execute", "gpu=a100:no-schedule", and "*" or ":no-schedule" for whatever the key is.</summary>
internal static class TolerationFlag
{
    private const string EveryKey = "*";

    /// <exception cref="CtlException">It is none of these.</exception>
    public static Toleration Parse(string text)
    {
        var colon = text.IndexOf(':', StringComparison.Ordinal);
        var taint = colon < 0 ? text : text[..colon];
        var equals = taint.IndexOf('=', StringComparison.Ordinal);
        var (key, value) = equals < 0 ? (taint, "") : (taint[..equals], taint[(equals + 1)..]);
        key = key == EveryKey ? "" : key;

        // On the wire no key and no value mean "any": what only looks like one must not become that. "gpu=" would tolerate every value.
        if ((taint.Length == 0 && colon < 0) || (equals >= 0 && (key.Length == 0 || value.Length == 0)))
        {
            throw CtlException.Usage(
                $"--toleration: '{text}' is no toleration.",
                "Write KEY[=VALUE][:EFFECT], for example gpu=a100:no-schedule; without VALUE every value, and * every taint.");
        }

        return new()
        {
            Key = key,
            Value = value,
            Effect = colon < 0 ? TaintEffect.Unspecified : TaintEffects.Parse("--toleration", text[(colon + 1)..]),
        };
    }
}
