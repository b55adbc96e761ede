using System.CommandLine;
using System.CommandLine.Help;
using System.CommandLine.Parsing;
using Hypervisor.Ctl.Errors;

namespace Hypervisor.Ctl.Commands;

/// <summary>A command as System.CommandLine parses it; <see cref="Definition"/> is null for groups and for those not meant.</summary>
internal sealed class TreeCommand(string name, string description, CtlCommand? definition) : Command(name, description)
{
    public CtlCommand? Definition { get; } = definition;
}

/// <summary>
/// Builds what System.CommandLine parses. A command can only be meant when its name is among the words typed; the others get
/// their name and description (for help and suggestions) but not their options, which halves the start-up time.
/// </summary>
internal sealed class CommandTree
{
    private static readonly ParserConfiguration Configuration = new()
    {
        // "@file" is a legitimate value; nothing here reads response files.
        ResponseFileTokenReplacer = null,
    };

    private CommandTree(Command root, GlobalOptions options)
    {
        Root = root;
        Options = options;
    }

    public Command Root { get; }

    public GlobalOptions Options { get; }

    /// <summary>The tree for these words; null builds every command in full.</summary>
    public static CommandTree Build(IReadOnlyList<string>? words)
    {
        var root = new TreeCommand("hypervisor-ctl", "Instances, images and nodes of a Zixiao cluster.", null);
        var options = new GlobalOptions();
        options.AddTo(root);
        root.Add(new HelpOption("--help", "-h"));
        foreach (var group in CommandTable.Groups)
        {
            root.Add(Build(group, words));
        }

        foreach (var entry in CommandTable.Commands)
        {
            root.Add(Build(entry, words));
        }

        return new(root, options);
    }

    public static async Task<int> RunAsync(string[] words, CtlEnvironment environment, CancellationToken cancellationToken)
    {
        try
        {
            var tree = Build(words);
            var parse = tree.Root.Parse(words, Configuration);
            if (parse.Action is HelpAction)
            {
                return await parse.InvokeAsync(new InvocationConfiguration { Output = environment.Out, Error = environment.Error }, cancellationToken);
            }

            var command = (TreeCommand)parse.CommandResult.Command;
            if (parse.Errors.Count > 0 || command.Definition is null)
            {
                return WriteUsageErrors(environment, parse, command);
            }

            using var invocation = new Invocation(parse, tree.Options, environment);
            RefuseUnknownOptions(parse, invocation.Trailing.Count);
            return await command.Definition.RunAsync(invocation, cancellationToken);
        }
        catch (Exception exception) when (exception is not OperationCanceledException)
        {
            environment.Out.Flush();
            return ErrorReport.Write(environment, exception);
        }
        finally
        {
            environment.Out.Flush();
            environment.Error.Flush();
        }
    }

    private static TreeCommand Build(CommandGroup group, IReadOnlyList<string>? words)
    {
        var command = new TreeCommand(group.Name, group.Description, null);
        if (words is null || words.Contains(group.Name))
        {
            foreach (var entry in group.Commands)
            {
                command.Add(Build(entry, words));
            }

            foreach (var inner in group.Groups)
            {
                command.Add(Build(inner, words));
            }
        }

        return command;
    }

    private static TreeCommand Build(CommandEntry entry, IReadOnlyList<string>? words)
    {
        if (words is not null && !words.Contains(entry.Name))
        {
            return new(entry.Name, entry.Description, null) { Hidden = entry.Hidden };
        }

        var definition = entry.Create();
        var command = new TreeCommand(entry.Name, entry.Description, definition) { Hidden = entry.Hidden };
        definition.Declare(command);
        return command;
    }

    /// <summary>System.CommandLine takes an unknown option for an argument where there is room for one.</summary>
    private static void RefuseUnknownOptions(ParseResult parse, int trailing)
    {
        var words = parse.CommandResult.Children.OfType<ArgumentResult>().SelectMany(argument => argument.Tokens).ToArray();
        if (words[..(words.Length - trailing)].FirstOrDefault(word => word.Value is ['-', _, ..]) is { } unknown)
        {
            throw CtlException.Usage(
                $"'{unknown.Value}' is no option of '{PathOf(parse)}'.", $"Try '{PathOf(parse)} --help'; words that only look like options come after --.");
        }
    }

    private static string PathOf(ParseResult parse)
    {
        var path = parse.CommandResult.Command.Name;
        for (var result = parse.CommandResult.Parent; result is CommandResult parent; result = parent.Parent)
        {
            path = $"{parent.Command.Name} {path}";
        }

        return path;
    }

    private static int WriteUsageErrors(CtlEnvironment environment, ParseResult parse, TreeCommand command)
    {
        var path = PathOf(parse);
        // A group alone lacks a command; with a word after it, that word is the mistake.
        var messages = command.Definition is null && parse.UnmatchedTokens.Count == 0
            ? [$"'{path}' needs a command."]
            : command.Definition is null
                ? parse.UnmatchedTokens.Take(1).Select(word => $"'{path}' has no command or option '{word}'.")
                : parse.Errors.Select(error => error.Message).Distinct();
        foreach (var message in messages)
        {
            ErrorReport.WriteError(environment, Output.TerminalText.Clean(message), null);
        }

        environment.Error.WriteLine($"Try '{path} --help'.");
        return ExitCode.Usage;
    }
}
