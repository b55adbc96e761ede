using System.CommandLine;

namespace Hypervisor.Ctl.Commands.Groups;

internal static class GroupArguments
{
    public static Argument<string[]> Several() => new("group") { Description = "Name or id", Arity = ArgumentArity.OneOrMore };

    public static Argument<string> One() => new("group") { Description = "Name or id" };
}
