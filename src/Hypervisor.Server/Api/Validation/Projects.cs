using Hypervisor.Protocol;
using Hypervisor.Server.Api.Errors;

namespace Hypervisor.Server.Api.Validation;

/// <summary>How requests name projects.</summary>
internal static class Projects
{
    public const string Default = "default";

    /// <summary>In lists and watches: every project.</summary>
    public const string All = "-";

    /// <summary>The project that a request means.</summary>
    public static string Resolve(string project, FieldViolations violations, string field = "project")
    {
        if (project.Length == 0)
        {
            return Default;
        }

        if (!LabelSyntax.IsDnsLabel(project))
        {
            violations.Add(field, $"'{Printable.Quote(project)}' is not a project name: 1-63 characters of a-z, 0-9 and '-', not at the ends.");
        }

        return project;
    }
}
