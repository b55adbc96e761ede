using System.CommandLine;

namespace Hypervisor.Ctl.Commands.Instances;

internal static class InstanceArguments
{
    public static Argument<string[]> Several() => new("instance")
    {
        Description = "Name, id or unique beginning of an id",
        Arity = ArgumentArity.OneOrMore,
    };

    public static Argument<string> One() => new("instance") { Description = "Name, id or unique beginning of an id" };
}
