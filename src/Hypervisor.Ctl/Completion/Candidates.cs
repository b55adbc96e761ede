using System.CommandLine;
using System.CommandLine.Completions;
using Hypervisor.Ctl.Commands;

namespace Hypervisor.Ctl.Completion;

/// <summary>What may come next on a command line: words of the command tree, and which kind of name an argument wants.</summary>
internal static class Candidates
{
    /// <param name="words">Everything after the program's name; the last one is being typed and may be empty.</param>
    /// <returns>Static candidates, and the kind of names to add.</returns>
    public static (IReadOnlyList<(string Word, string Description)> Static, NameKind Names) For(IReadOnlyList<string> words)
    {
        Command command = CommandTree.Build(null).Root;
        var inherited = new List<Option>();
        Option? awaiting = null;
        foreach (var word in words.Take(words.Count - 1))
        {
            if (word == "--")
            {
                return ([], NameKind.None);
            }

            if (awaiting is not null)
            {
                awaiting = null;
            }
            else if (word.StartsWith('-'))
            {
                var option = command.Options.Concat(inherited).FirstOrDefault(o => o.Name == word || o.Aliases.Contains(word));
                awaiting = option is not null && option.ValueType != typeof(bool) && option.Arity.MaximumNumberOfValues > 0 ? option : null;
            }
            else if (command.Subcommands.FirstOrDefault(c => c.Name == word) is { } next)
            {
                inherited.AddRange(command.Options.Where(o => o.Recursive));
                command = next;
            }
        }

        var current = words.Count > 0 ? words[^1] : "";
        if (awaiting is not null)
        {
            return (Values(awaiting.CompletionSources, current), NamesOf(awaiting));
        }

        if (current.StartsWith('-'))
        {
            return ([.. command.Options.Concat(inherited).Where(o => !o.Hidden).Select(o => (o.Name, o.Description ?? ""))], NameKind.None);
        }

        return command.Subcommands.Count > 0
            ? ([.. command.Subcommands.Where(c => !c.Hidden).Select(c => (c.Name, c.Description ?? ""))], NameKind.None)
            : (
                Values(command.Arguments.SelectMany(argument => argument.CompletionSources), current),
                (command as TreeCommand)?.Definition?.Completes ?? NameKind.None);
    }

    /// <summary>A source's words; those that begin with '@' or ':' are endings of a value that has come as far as that character.</summary>
    private static (string, string)[] Values(IEnumerable<Func<CompletionContext, IEnumerable<CompletionItem>>> sources, string current)
    {
        var values = new List<(string, string)>();
        foreach (var item in sources.SelectMany(source => source(CompletionContext.Empty)))
        {
            if (item.Label[0] is not ('@' or ':'))
            {
                values.Add((item.Label, item.Detail ?? ""));
            }
            else if (current.LastIndexOf(item.Label[0]) is >= 0 and var end)
            {
                values.Add((current[..end] + item.Label, item.Detail ?? ""));
            }
        }

        return [.. values];
    }

    private static NameKind NamesOf(Option option) => option.Name switch
    {
        "--image" => NameKind.Images,
        "--node" or "--preferred-node" => NameKind.Nodes,
        "--instance" => NameKind.Instances,
        "--group" => NameKind.Groups,
        "--context" => NameKind.Contexts,
        "--file" or "--user-data" or "--ssh-key" => NameKind.Files,
        _ => NameKind.None,
    };
}
