using Google.Protobuf.WellKnownTypes;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Errors;
using Hypervisor.Server.Api.Instances;
using Hypervisor.Server.Api.Validation;

namespace Hypervisor.Server.Api.Groups;

/// <summary>Everything that may be wrong with a group, found at once.</summary>
internal static class GroupValidation
{
    private const long NanosecondsPerSecond = 1_000_000_000;

    public static void CheckName(string name, FieldViolations violations)
    {
        if (!LabelSyntax.IsDnsLabel(name) || name.Length > Limits.Groups.NameLength)
        {
            var rule = $"1-{Limits.Groups.NameLength} characters of a-z, 0-9 and '-', not at the ends; members are called after it";
            violations.Add("name", name.Length == 0 ? $"is required: {rule}." : $"'{Printable.Quote(name)}' is not {rule}.");
        }
    }

    /// <param name="spec">With selectors that were left out filled in.</param>
    public static void Check(GroupSpec? spec, string field, FieldViolations violations)
    {
        if (spec is null)
        {
            violations.Add(field, "is required.");
            return;
        }

        CheckCount(spec.Count, spec.Gang, $"{field}.count", violations);
        CheckTemplate(spec.Template, $"{field}.template", violations);
        CheckUpdate(spec.Update, $"{field}.update", violations);
        if (spec.Disruption is { } budget)
        {
            TextChecks.Range(budget.MaxUnavailable, 0, Limits.Groups.Count, "", $"{field}.disruption.max_unavailable", violations);
        }

        if (spec.CalculateSize() > Limits.Instance.RequestBytes)
        {
            violations.Add(field, $"takes {spec.CalculateSize()} bytes; at most {Limits.Instance.RequestBytes} are allowed.");
        }
    }

    public static void CheckCount(int count, bool gang, string field, FieldViolations violations)
    {
        if (count < 0 || count > Limits.Groups.Count)
        {
            violations.Add(field, $"{count} is outside 0 to {Limits.Groups.Count}; make several groups of more.");
        }
        else if (gang && count > Limits.Groups.GangCount)
        {
            violations.Add(field, $"{count} is more than a gang has, {Limits.Groups.GangCount}; ask for fewer, or leave gang out.");
        }
    }

    private static void CheckTemplate(InstanceTemplate? template, string field, FieldViolations violations)
    {
        if (template?.Spec is not { } spec)
        {
            violations.Add($"{field}.spec", "is required.");
            return;
        }

        CreateValidation.CheckLabels(template.Labels, violations, $"{field}.labels");
        CreateValidation.CheckReserved(template.Labels, violations, $"{field}.labels");
        TextChecks.Count(template.Labels.Count, Limits.Instance.Labels - 1, $"{field}.labels", violations);
        CreateValidation.CheckAnnotations(template.Annotations, violations, $"{field}.annotations");
        SpecValidation.Check(spec, $"{field}.spec", violations);
        if (spec.DesiredState == DesiredState.Stopped)
        {
            violations.Add($"{field}.spec.desired_state", "members of a group are to run; scale it to 0 instead.");
        }
    }

    private static void CheckUpdate(RollingUpdate? update, string field, FieldViolations violations)
    {
        if (update is null)
        {
            return;
        }

        TextChecks.Range(update.MaxSurge, 0, Limits.Groups.MaxSurge, "", $"{field}.max_surge", violations);
        TextChecks.Range(update.MaxUnavailable, 0, Limits.Groups.Count, "", $"{field}.max_unavailable", violations);
        CheckDuration(update.MinReady, TimeSpan.Zero, Limits.Groups.MaxMinReady, $"{field}.min_ready", violations);
        CheckDuration(update.ProgressDeadline, Limits.Groups.MinProgressDeadline, Limits.Groups.MaxProgressDeadline, $"{field}.progress_deadline", violations);
    }

    private static void CheckDuration(Duration? duration, TimeSpan minimum, TimeSpan maximum, string field, FieldViolations violations)
    {
        if (duration is null)
        {
            return;
        }

        // Not as a TimeSpan: what a client sends may not be one.
        var seconds = duration.Seconds + ((decimal)duration.Nanos / NanosecondsPerSecond);
        if (Math.Abs((long)duration.Nanos) >= NanosecondsPerSecond || seconds < (decimal)minimum.TotalSeconds || seconds > (decimal)maximum.TotalSeconds)
        {
            violations.Add(field, $"{seconds} s is outside {minimum.TotalSeconds} to {maximum.TotalSeconds} s.");
        }
    }
}
