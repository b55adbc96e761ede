using System.CommandLine;
using Hypervisor.Ctl.Completion;

namespace Hypervisor.Ctl.Commands;

/// <summary>One command: declares its arguments and options, then runs. A new one is a file and a line in <see cref="CommandTable"/>.</summary>
internal abstract class CtlCommand
{
    /// <summary>What the shell offers for the command's arguments.</summary>
    public virtual NameKind Completes => NameKind.None;

    public virtual void Declare(Command command)
    {
    }

    /// <returns>The exit code.</returns>
    public abstract Task<int> RunAsync(Invocation invocation, CancellationToken cancellationToken);
}

/// <summary>A line of the command table. <paramref name="Create"/> runs only for commands that the command line may mean.</summary>
internal sealed record CommandEntry(string Name, string Description, Func<CtlCommand> Create)
{
    public bool Hidden { get; init; }
}

/// <summary>Commands about one kind of object; <paramref name="Name"/> is the word before theirs.</summary>
internal sealed record CommandGroup(string Name, string Description, CommandEntry[] Commands)
{
    public CommandGroup[] Groups { get; init; } = [];
}
