using System.CommandLine;
using Hypervisor.Ctl.Output;
using Hypervisor.Ctl.Specs;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Ctl.Commands.Nodes;

/// <summary>Sets and removes taints, in the order in which they were typed.</summary>
internal sealed class TaintCommand : ChangeCommand
{
    private readonly Argument<string[]> _taints = new("taint")
    {
        HelpName = "taint",
        Description = $"KEY[=VALUE]:EFFECT sets a taint, KEY:EFFECT- removes it and KEY- all with that key; EFFECT is {string.Join(", ", TaintEffects.Words)}",
        Arity = ArgumentArity.OneOrMore,
    };

    protected override void DeclareChange(Command command)
    {
        _taints.CompletionSources.Add([.. TaintEffects.Endings]);
        command.Add(_taints);
    }

    protected override NodeChange Read(Invocation invocation)
    {
        TaintArgument[] taints = [.. invocation.Get(_taints)!.Select(TaintArgument.Parse)];
        return new(["spec.taints"], node => Array.ForEach(taints, taint => taint.Apply(node)), Outcome);
    }

    private static string Outcome(Node before, Node after) =>
        after.Spec is { Taints.Count: > 0 } spec ? $"has the taints {Layouts.Taints(spec)}" : "has no taints";
}
