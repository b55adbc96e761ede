using System.CommandLine;
using Hypervisor.Ctl.Errors;
using Hypervisor.Ctl.Output;
using Hypervisor.Ctl.Specs;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Ctl.Commands.Clusters;

internal sealed class WhatIfCommand : CtlCommand
{
    private readonly Option<string[]> _lose = new("--lose")
    {
        Description = "What is lost: zone=NAME, region=NAME or node=NAME; may be given several times",
        HelpName = "KIND=NAME",
    };

    private readonly Option<int[]> _add = new("--add") { Description = "So many nodes are added, like the one of the --like that belongs to it", HelpName = "N" };
    private readonly Option<string[]> _like = new("--like") { Description = "Node that those of --add are like, and where they are, if elsewhere: n1, n1@zone, n1@region/zone", HelpName = "NODE" };
    private readonly Option<string[]> _place = new("--place") { Description = "Instances of a specification are placed; - is standard input", HelpName = "FILE" };
    private readonly Option<int[]> _count = new("--count") { Description = "So many of each instance of the --place that belongs to it; 1 when left out", HelpName = "N" };
    private readonly Freshness _freshness = new();
    private readonly Option<OutputFormat> _output = CommonOptions.Output();

    public override void Declare(Command command)
    {
        command.Add(_lose);
        command.Add(_add);
        command.Add(_like);
        command.Add(_place);
        command.Add(_count);
        command.Add(_freshness.Option);
        command.Add(_output);
    }

    public override async Task<int> RunAsync(Invocation invocation, CancellationToken cancellationToken)
    {
        var printer = invocation.Printer(_output);
        var (request, placed) = Request(invocation);
        var response = await _freshness.CallAsync(invocation, options => invocation.Cluster.WhatIfAsync(request, options), cancellationToken);
        if (printer.ForPeople)
        {
            WhatIfReport.Write(invocation, printer, response, placed);
        }
        else if (printer.Format == OutputFormat.Name)
        {
            foreach (var refusal in WhatIfReport.Outcomes(response, placed).SelectMany(outcome => outcome.Outcome.Refusals))
            {
                refusal.Examples.ToList().ForEach(printer.WriteName);
            }
        }
        else
        {
            printer.WriteDocument(response);
        }

        return ExitCode.Done;
    }

    private (WhatIfRequest Request, IReadOnlyList<string> Placed) Request(Invocation invocation)
    {
        var request = new WhatIfRequest { Consistency = _freshness.Of(invocation) };
        foreach (var lost in invocation.Get(_lose) ?? [])
        {
            var names = lost.Split('=', 2) switch
            {
                ["node", { Length: > 0 }] => request.LoseNodes,
                ["zone", { Length: > 0 }] => request.LoseZones,
                ["region", { Length: > 0 }] => request.LoseRegions,
                _ => throw CtlException.Usage($"--lose: '{lost}' does not say what is lost.", "Write zone=NAME, region=NAME or node=NAME, for example --lose zone=b."),
            };
            names.Add(lost[(lost.IndexOf('=', StringComparison.Ordinal) + 1)..]);
        }

        var (added, likes) = (invocation.Get(_add) ?? [], invocation.Get(_like) ?? []);
        if (added.Length != likes.Length)
        {
            throw CtlException.Usage($"--add is given {added.Length} times and --like {likes.Length} times.", "Each --add N has its --like NODE, in the same order.");
        }

        request.Add.AddRange(added.Zip(likes, Nodes));
        return (request, AddInstances(invocation, request));
    }

    /// <summary>"n1", "n1@c", "n1@eu/c".</summary>
    private static WhatIfNodes Nodes(int count, string like)
    {
        var parts = like.Split('@', 2);
        var place = parts.ElementAtOrDefault(1) ?? "";
        var slash = place.IndexOf('/', StringComparison.Ordinal);
        return new() { Count = count, Like = parts[0], Region = slash < 0 ? "" : place[..slash], Zone = place[(slash + 1)..] };
    }

    /// <returns>What each entry is called.</returns>
    private List<string> AddInstances(Invocation invocation, WhatIfRequest request)
    {
        var (files, counts) = (invocation.Get(_place) ?? [], invocation.Get(_count) ?? []);
        if (counts.Length > 0 && counts.Length != files.Length)
        {
            throw CtlException.Usage(
                $"--place is given {files.Length} times and --count {counts.Length} times.", "Each --place FILE has its --count N, in the same order, or none has one.");
        }

        var names = new List<string>();
        foreach (var (index, file) in files.Index())
        {
            foreach (var each in SpecFile.Read(invocation.Environment, file))
            {
                names.Add(each.Name.Length > 0 ? each.Name : file);
                request.Place.Add(new WhatIfInstances
                {
                    Count = counts.Length > 0 ? counts[index] : 1,
                    Project = invocation.ProjectGiven ?? (each.Project.Length > 0 ? each.Project : invocation.Project),
                    Labels = { each.Labels },
                    Spec = each.Spec,
                });
            }
        }

        return names;
    }
}
