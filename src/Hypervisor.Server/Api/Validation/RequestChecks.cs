using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Errors;
using Hypervisor.Server.Api.Lists;

namespace Hypervisor.Server.Api.Validation;

/// <summary>Checks that many requests share. Each adds what is wrong and goes on.</summary>
internal static class RequestChecks
{
    public static LabelSelector Selector(string text, FieldViolations violations)
    {
        try
        {
            return LabelSelector.Parse(text);
        }
        catch (LabelSelectorException exception)
        {
            violations.Add("label_selector", exception.Message);
            return LabelSelector.Everything;
        }
    }

    public static bool IsSummary(InstanceView view, FieldViolations violations)
    {
        if (!Enum.IsDefined(view))
        {
            violations.Add("view", $"{(int)view} is not a view; use INSTANCE_VIEW_FULL or INSTANCE_VIEW_SUMMARY.");
        }

        return view == InstanceView.Summary;
    }

    public static void CheckConsistency(Consistency consistency, FieldViolations violations)
    {
        if (!Enum.IsDefined(consistency))
        {
            violations.Add("consistency", $"{(int)consistency} is not known; use CONSISTENCY_LINEARIZABLE or CONSISTENCY_STALE.");
        }
    }

    public static void CheckVersion(long resourceVersion, FieldViolations violations)
    {
        if (resourceVersion < 0)
        {
            violations.Add("resource_version", $"{resourceVersion} is negative; take one from an answer, or 0.");
        }
    }

    public static void CheckRequestId(string requestId, FieldViolations violations)
    {
        if (requestId.Length > Limits.Api.RequestIdLength || requestId.Any(character => character is < '!' or > '~'))
        {
            violations.Add(
                "request_id",
                $"'{Printable.Quote(requestId)}' is not 1-{Limits.Api.RequestIdLength} printable ASCII characters without spaces; a UUID is a good choice.");
        }
    }
}
