using System.Globalization;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Ctl.Output;

/// <summary>The columns of groups and their templates.</summary>
internal static class GroupLayouts
{
    public static TableLayout<Group> Groups(DateTimeOffset now, bool wide, bool withProject)
    {
        List<(string Title, Func<Group, Cell> Cell)> columns =
        [
            ("NAME", g => g.Metadata.Name),
            ("READY", g => $"{g.Status.Ready}/{g.Status.Desired}"),
            ("UPDATED", g => Number(g.Status.Updated)),
            ("STATUS", StatusOf),
            ("TYPE", g => Readable.Type(g.Spec?.Template?.Spec?.Type ?? default)),
            ("IMAGE", g => g.Spec?.Template?.Spec?.Image),
            ("AGE", g => Readable.Age(g.Metadata.CreatedAt, now)),
        ];
        if (withProject)
        {
            columns.Insert(0, ("PROJECT", g => g.Metadata.Project));
        }

        if (wide)
        {
            columns.AddRange([("REVISION", g => Number(g.Status.Revision)), ("UID", g => g.Metadata.Uid)]);
        }

        return Of(columns);
    }

    public static TableLayout<GroupRevision> Revisions(DateTimeOffset now) => Of<GroupRevision>(
    [
        ("REVISION", r => Number(r.Revision)),
        ("MEMBERS", r => Number(r.Members)),
        ("IMAGE", r => r.Template?.Spec?.Image),
        ("ARGUMENTS", r => string.Join(' ', (r.Template?.Spec?.Process?.Command ?? []).Concat(r.Template?.Spec?.Process?.Args ?? []))),
        ("WANTED", r => Readable.Age(r.WantedAt, now)),
    ]);

    private static Cell StatusOf(Group group)
    {
        if (group.Metadata.DeletedAt is not null)
        {
            return new("DELETING", Tone.Busy);
        }

        var progress = group.Status.Conditions.FirstOrDefault(condition => condition.Type == "Progressing");
        return progress switch
        {
            null => new("NEW", Tone.Busy),
            { Status: ConditionStatus.False } => new(progress.Reason.ToUpperInvariant(), Tone.Bad),
            { Reason: "Complete" } => new("COMPLETE", Tone.Good),
            _ => new(progress.Reason.ToUpperInvariant(), Tone.Busy),
        };
    }

    private static string Number(long number) => number.ToString(CultureInfo.InvariantCulture);

    private static TableLayout<T> Of<T>(List<(string Title, Func<T, Cell> Cell)> columns) => new(
        [.. columns.Select(column => column.Title)],
        item => [.. columns.Select(column => column.Cell(item))]);
}
