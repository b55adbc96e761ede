using Hypervisor.Ctl.Errors;
using Hypervisor.Ctl.Output;
using Hypervisor.Ctl.Specs;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Ctl.Commands.Nodes;

/// <summary>"gpu=a100:no-schedule" and "gpu:no-schedule" set a taint; "gpu:no-schedule-" removes it, "gpu-" all with that key.</summary>
internal sealed class TaintArgument
{
    private readonly string _text;
    private readonly Taint _taint;
    private readonly bool _removes;

    private TaintArgument(string text, Taint taint, bool removes) => (_text, _taint, _removes) = (text, taint, removes);

    /// <exception cref="CtlException">It is none of these.</exception>
    public static TaintArgument Parse(string text)
    {
        var removes = text.EndsWith('-');
        var taint = removes ? text[..^1] : text;
        var colon = taint.IndexOf(':', StringComparison.Ordinal);
        var named = colon < 0 ? taint : taint[..colon];
        var equals = named.IndexOf('=', StringComparison.Ordinal);
        var key = equals < 0 ? named : named[..equals];

        // A taint is told from others by key and effect: a value has no say in a removal, and without an effect there is nothing to set.
        if (key.Length == 0 || (removes ? equals >= 0 : colon < 0))
        {
            throw CtlException.Usage(
                $"'{text}' is no taint.",
                $"Write KEY[=VALUE]:EFFECT to set one, KEY:EFFECT- or KEY- to remove; EFFECT is one of {string.Join(", ", TaintEffects.Words)}.");
        }

        return new(
            text,
            new()
            {
                Key = key,
                Value = equals < 0 ? "" : named[(equals + 1)..],
                Effect = colon < 0 ? TaintEffect.Unspecified : TaintEffects.Parse($"'{text}'", taint[(colon + 1)..]),
            },
            removes);
    }

    /// <exception cref="CtlException">It removes what is not there.</exception>
    public void Apply(Node node)
    {
        var taints = node.Spec.Taints;
        var same = taints.Where(taint => taint.Key == _taint.Key && (_taint.Effect == TaintEffect.Unspecified || taint.Effect == _taint.Effect)).ToList();
        if (!_removes)
        {
            if (same.Count > 0)
            {
                same[0].Value = _taint.Value;
            }
            else
            {
                taints.Add(_taint.Clone());
            }

            return;
        }

        if (same.Count == 0)
        {
            throw CtlException.Usage(
                $"{node.Metadata.Name} has no taint '{_text[..^1]}', but {(taints.Count > 0 ? Layouts.Taints(node.Spec) : "none at all")}; nothing was changed.");
        }

        foreach (var taint in same)
        {
            taints.Remove(taint);
        }
    }
}
