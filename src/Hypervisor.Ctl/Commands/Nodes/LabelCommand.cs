using System.CommandLine;
using Hypervisor.Ctl.Errors;
using Hypervisor.Ctl.Output;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Ctl.Commands.Nodes;

/// <summary>Sets and removes labels, in the order in which they were typed.</summary>
internal sealed class LabelCommand : ChangeCommand
{
    private readonly Argument<string[]> _labels = new("label")
    {
        Description = "KEY=VALUE sets a label, KEY- removes it",
        Arity = ArgumentArity.OneOrMore,
    };

    protected override void DeclareChange(Command command) => command.Add(_labels);

    protected override NodeChange Read(Invocation invocation)
    {
        LabelArgument[] labels = [.. invocation.Get(_labels)!.Select(LabelArgument.Parse)];
        return new(
            ["metadata.labels"],
            node => Array.ForEach(labels, label => label.Apply(node)),
            (before, after) => Outcome(labels, before, after));
    }

    private static string Outcome(LabelArgument[] labels, Node before, Node after)
    {
        // The server keeps what the agent itself says, and answers as if it had been removed.
        foreach (var (key, _) in labels.GroupBy(label => label.Key, (_, same) => same.Last()).Where(label => label.Value is null))
        {
            if (after.Metadata.Labels.TryGetValue(key, out var value) && before.Metadata.Labels.TryGetValue(key, out var known) && known == value)
            {
                throw new CtlException(
                    ExitCode.Refused,
                    $"{after.Metadata.Name} keeps its label {key}={value}: its agent sets it.",
                    "Remove it from 'labels' in the agent's configuration.");
            }
        }

        return after.Metadata.Labels.Count > 0 ? $"has the labels {Layouts.Labels(after.Metadata)}" : "has no labels";
    }
}
