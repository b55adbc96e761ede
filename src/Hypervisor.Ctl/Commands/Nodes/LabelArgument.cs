using Hypervisor.Ctl.Errors;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Ctl.Commands.Nodes;

/// <summary>"disk=ssd" sets a label, "disk-" removes it (then <paramref name="Value"/> is null).</summary>
internal sealed record LabelArgument(string Key, string? Value)
{
    /// <exception cref="CtlException">It is neither.</exception>
    public static LabelArgument Parse(string text)
    {
        var equals = text.IndexOf('=', StringComparison.Ordinal);
        return equals > 0 ? new(text[..equals], text[(equals + 1)..])
            : equals < 0 && text.Length > 1 && text.EndsWith('-') ? new(text[..^1], null)
            : throw CtlException.Usage($"'{text}' is no label.", "Write KEY=VALUE to set one, KEY- to remove it.");
    }

    /// <exception cref="CtlException">It removes what is not there.</exception>
    public void Apply(Node node)
    {
        if (Value is not null)
        {
            node.Metadata.Labels[Key] = Value;
        }
        else if (!node.Metadata.Labels.Remove(Key))
        {
            throw CtlException.Usage($"{node.Metadata.Name} has no label '{Key}'; nothing was changed.", "'hypervisor-ctl node get' shows those it has.");
        }
    }
}
