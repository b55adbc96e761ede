using System.CommandLine;

namespace Hypervisor.Ctl.Commands.Nodes;

internal static class NodeArguments
{
    public static Argument<string[]> Several() => new("node")
    {
        Description = "Name, id or unique beginning of an id",
        Arity = ArgumentArity.OneOrMore,
    };
}
