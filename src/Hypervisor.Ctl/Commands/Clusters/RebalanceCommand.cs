using System.CommandLine;
using System.Globalization;
using Hypervisor.Ctl.Errors;
using Hypervisor.Ctl.Output;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Ctl.Commands.Clusters;

internal sealed class RebalanceCommand : CtlCommand
{
    private readonly Option<bool> _dryRun = new("--dry-run") { Description = "Only show what would be moved" };
    private readonly Option<bool> _apply = new("--apply") { Description = "Move: each instance is stopped, removed and started on the other node" };
    private readonly Option<int> _maxMoves = new("--max-moves") { Description = "Most moves, those of earlier calls that are under way included (default 10)", HelpName = "N" };
    private readonly Option<double> _minGain = new("--min-gain") { Description = "What a move has to add to its instance's score at least (default 0.05)", HelpName = "GAIN" };

    private readonly Option<PlacementStrategy> _objective = CommonOptions.Choice<PlacementStrategy>(
        "--objective", "Strategy whose score is to rise: binpack, spread or balanced (default: each instance's own)");

    private readonly Option<OutputFormat> _output = CommonOptions.Output();

    public override void Declare(Command command)
    {
        command.Add(_dryRun);
        command.Add(_apply);
        command.Add(_maxMoves);
        command.Add(_minGain);
        command.Add(_objective);
        command.Add(_output);
    }

    public override async Task<int> RunAsync(Invocation invocation, CancellationToken cancellationToken)
    {
        var (printer, apply) = (invocation.Printer(_output), invocation.Get(_apply));
        if (apply == invocation.Get(_dryRun))
        {
            throw CtlException.Usage("Either --dry-run or --apply has to be given.", "Look at what --dry-run shows first.");
        }

        var request = new RebalanceRequest
        {
            Objective = invocation.Get(_objective),
            MaxMoves = invocation.Get(_maxMoves),
            MinGain = invocation.Get(_minGain),
            Apply = apply,
        };

        // Who repeats it moves no more than were asked for: what is under way counts.
        var response = await invocation.CallAsync(options => invocation.Cluster.RebalanceAsync(request, options), cancellationToken);
        if (printer.ForPeople)
        {
            Write(invocation, printer, response, apply);
        }
        else if (printer.Format == OutputFormat.Name)
        {
            response.Moves.ToList().ForEach(move => printer.WriteName(move.Instance));
        }
        else
        {
            printer.WriteDocument(response);
        }

        return ExitCode.Done;
    }

    private static void Write(Invocation invocation, Printer printer, RebalanceResponse response, bool apply)
    {
        var output = invocation.Environment.Out;
        if (response.Moves.Count == 0)
        {
            printer.WriteLine($"No move gains enough{(response.UnderWay > 0 ? $" or {Under(response)} already" : "")}: {Text(response.Instances)} instances looked at.");
        }
        else
        {
            printer.Table(["INSTANCE", "FROM", "TO", "SCORE", "GAIN", apply ? "MOVES" : ""]).Write(
            [
                .. response.Moves.Select(move => new Cell[]
                {
                    move.Instance,
                    move.From,
                    move.To,
                    $"{(move.ScoreBefore < 0 ? "breaks its rules" : Score(move.ScoreBefore))} -> {Score(move.ScoreAfter)}",
                    Score(move.Gain),
                    !apply ? new Cell("") : move.Applied ? new Cell("yes", Tone.Good) : new Cell($"no: {move.Message}", Tone.Bad),
                }),
            ]);
            output.WriteLine();
            printer.WriteLine($"Empty nodes {response.Before.EmptyNodes} -> {response.After.EmptyNodes} of {response.After.Nodes}; "
                + $"utilisation {Share(response.Before.Utilisation)}, deviation {Share(response.Before.Deviation)} -> {Share(response.After.Deviation)}.");
        }

        if (response.UnderWay > 0 && response.Moves.Count > 0)
        {
            printer.WriteLine($"Of earlier calls {Under(response)}.");
        }

        foreach (var hindrance in response.Hindrances)
        {
            printer.WriteLine($"Not moved, {Text(hindrance.Instances)}: {hindrance.Message}");
        }
    }

    private static string Under(RebalanceResponse response) => $"{Text(response.UnderWay)} {(response.UnderWay == 1 ? "move is" : "moves are")} under way";

    private static string Text(int count) => count.ToString(CultureInfo.InvariantCulture);

    private static string Score(double score) => score.ToString("0.00", CultureInfo.InvariantCulture);

    private static string Share(double share) => share.ToString("0.0 %", CultureInfo.InvariantCulture);
}
