using System.CommandLine;
using Grpc.Core;
using Hypervisor.Ctl.Completion;
using Hypervisor.Ctl.Configuration;
using Hypervisor.Ctl.Connection;
using Hypervisor.Ctl.Errors;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Ctl.Commands.Completions;

/// <summary>Answers the completion scripts. A server that does not answer quickly adds no names, and is no error.</summary>
internal sealed class CompleteCommand : CtlCommand
{
    private readonly Argument<string[]> _words = new("words") { Arity = ArgumentArity.ZeroOrMore };

    public override void Declare(Command command) => command.Add(_words);

    public override async Task<int> RunAsync(Invocation invocation, CancellationToken cancellationToken)
    {
        var words = invocation.Get(_words) ?? [];
        var (fixedWords, kind) = Candidates.For(words);
        var output = invocation.Environment.Out;
        if (kind == NameKind.Files)
        {
            output.WriteLine(":files");
            return ExitCode.Done;
        }

        var current = words.Length > 0 ? words[^1] : "";
        foreach (var (word, description) in fixedWords.Where(c => c.Word.StartsWith(current, StringComparison.Ordinal)))
        {
            output.WriteLine($"{word}\t{description}");
        }

        // A name that needs escaping is no name of ours, and nothing a shell should be given.
        foreach (var name in await NamesAsync(invocation, kind, cancellationToken))
        {
            if (name.StartsWith(current, StringComparison.Ordinal) && name.All(c => char.IsAsciiLetterOrDigit(c) || c is '-' or '.' or ':' or '_' or '/'))
            {
                output.WriteLine($"{name}\t{kind.ToString().ToLowerInvariant()[..^1]}");
            }
        }

        return ExitCode.Done;
    }

    private static async Task<IEnumerable<string>> NamesAsync(Invocation invocation, NameKind kind, CancellationToken cancellationToken)
    {
        using var deadline = new CancellationTokenSource(Limits.CompletionTimeout, invocation.Environment.Time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(deadline.Token, cancellationToken);
        var options = new CallOptions(cancellationToken: either.Token);
        try
        {
            return kind switch
            {
                NameKind.Instances => (await invocation.Compute.ListInstancesAsync(
                    new()
                    {
                        Project = invocation.Project,
                        PageSize = Limits.CompletionNames,
                        View = InstanceView.Summary,
                        Consistency = Consistency.Stale,
                    },
                    options)).Instances.Select(i => i.Metadata.Name),
                NameKind.Groups => (await invocation.Groups.ListGroupsAsync(
                    new() { Project = invocation.Project, PageSize = Limits.CompletionNames, Consistency = Consistency.Stale },
                    options)).Groups.Select(g => g.Metadata.Name),
                NameKind.Nodes => (await invocation.Cluster.ListNodesAsync(
                    new() { PageSize = Limits.CompletionNames, Consistency = Consistency.Stale }, options)).Nodes.Select(n => n.Metadata.Name),
                NameKind.Images => (await invocation.Compute.ListImagesAsync(
                    new() { Project = invocation.Project, PageSize = Limits.CompletionNames }, options)).Images.Select(i => i.Metadata.Name),
                NameKind.Contexts => ContextFile.LoadIfPresent(invocation.Environment.Variable)?.Contexts.Select(c => c.Name) ?? [],
                _ => [],
            };
        }
        catch (Exception exception) when (exception is RpcException or OperationCanceledException or CtlException or ServerUnreachableException)
        {
            // The shell shows candidates, not errors; the command itself will say what is wrong.
            return [];
        }
    }
}
