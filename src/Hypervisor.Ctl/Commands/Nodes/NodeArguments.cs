using System.CommandLine;

namespace Hypervisor.Ctl.Commands.Nodes;

internal static class NodeArguments
{
    public static Argument<string[]> Several() => new("node")
    {
        Description = "Name, id or unique beginning of an id",
        Arity = ArgumentArity.OneOrMore,
    };

    public static Argument<string> One() => new("node") { Description = "Name, id or unique beginning of an id" };

    public static Argument<string[]> Unclaimed() => new("instance")
    {
        Description = "Among the node's unclaimed: id, unique beginning of an id, PROJECT/NAME or name",
        Arity = ArgumentArity.OneOrMore,
    };
}
