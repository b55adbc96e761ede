using System.Globalization;
using System.Text.RegularExpressions;

namespace Hypervisor.TestCluster.Traces;

/// <summary>What a trace says about the acknowledged records.</summary>
/// <param name="Acknowledged">How many were.</param>
/// <param name="Violations">One line for each that was acknowledged before it was on the disk.</param>
internal sealed record AcknowledgementReport(int Acknowledged, IReadOnlyList<string> Violations);

/// <summary>
/// Durable, by a trace: an acknowledgement begins only after a sync has ended that began after the record had been written, of a
/// file that the record was written to. Records carry marks (<see cref="Mark"/>) by which they are found in what was written.
/// </summary>
internal static partial class AcknowledgementOrder
{
    /// <summary>How often a record repeats its mark, so that half a record is not taken for one.</summary>
    public const int Marks = 16;

    public static string Mark(int record) => string.Create(CultureInfo.InvariantCulture, $"#{record:D6};");

    public static string Acknowledgement(int record) => string.Create(CultureInfo.InvariantCulture, $"ack {record:D6}\n");

    /// <param name="isStore">Whether a file is the store's.</param>
    public static AcknowledgementReport Check(IReadOnlyList<SystemCall> calls, Func<string, bool> isStore)
    {
        Dictionary<(int Record, string File), List<(SystemCall Write, int Marks)>> writes = [];
        Dictionary<int, List<string>> files = [];
        Dictionary<string, List<SystemCall>> syncs = new(StringComparer.Ordinal);
        List<(int Record, SystemCall Call)> acknowledgements = [];
        foreach (var call in calls)
        {
            if (call.IsSync && call.Succeeded)
            {
                (syncs.TryGetValue(call.File, out var list) ? list : syncs[call.File] = []).Add(call);
            }
            else if (call.IsWrite && isStore(call.File))
            {
                foreach (var marks in MarkPattern().Matches(call.Data).GroupBy(match => Number(match.Groups[1])))
                {
                    var key = (marks.Key, call.File);
                    if (!writes.TryGetValue(key, out var list))
                    {
                        writes[key] = list = [];
                        (files.TryGetValue(marks.Key, out var known) ? known : files[marks.Key] = []).Add(call.File);
                    }

                    list.Add((call, marks.Count()));
                }
            }
            else if (call.IsWrite && AcknowledgementPattern().Match(call.Data) is { Success: true } match)
            {
                acknowledgements.Add((Number(match.Groups[1]), call));
            }
        }

        List<string> violations = [];
        foreach (var (record, call) in acknowledgements)
        {
            var durable = files.GetValueOrDefault(record, []).Any(file =>
                syncs.GetValueOrDefault(file, []).Any(sync => sync.Ended < call.Began && Holds(sync, writes[(record, file)])));
            if (!durable)
            {
                var places = files.GetValueOrDefault(record, []).Select(file => $"{file} at line {writes[(record, file)][0].Write.Began}");
                violations.Add(
                    $"record {record} was acknowledged at line {call.Began}, and no sync had ended that began after it was written"
                    + $" ({string.Join(", ", places)})");
            }
        }

        return new AcknowledgementReport(acknowledgements.Count, violations);
    }

    // One mark may lie across two writes; a whole one less would be a part of the record.
    private static bool Holds(SystemCall sync, List<(SystemCall Write, int Marks)> writes) =>
        writes.Where(write => write.Write.Ended < sync.Began && write.Write.Succeeded).Sum(write => write.Marks) >= Marks - 1;

    private static int Number(Group group) => int.Parse(group.ValueSpan, CultureInfo.InvariantCulture);

    [GeneratedRegex(@"#(\d{6});")]
    private static partial Regex MarkPattern();

    [GeneratedRegex(@"^ack (\d{6})\\n$")]
    private static partial Regex AcknowledgementPattern();
}
