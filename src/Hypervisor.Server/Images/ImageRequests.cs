using Hypervisor.Hosting.Registries;
using Hypervisor.Server.Api.Errors;

namespace Hypervisor.Server.Images;

/// <summary>What every request about images has in common.</summary>
internal static class ImageRequests
{
    private const string DefaultProject = "default";

    /// <summary>Throws every field violation at once.</summary>
    /// <returns>The project.</returns>
    public static string Check(string project, string name, string requestId, bool nameRequired, string nameField, out ImageReference? reference)
    {
        var violations = new FieldViolations();
        project = Project(project, violations);
        reference = null;
        if (ImageReference.TryParse(name, out var parsed))
        {
            reference = parsed;
        }
        else if (name.Length > 0 || nameRequired)
        {
            violations.Add(nameField, $"\"{Hosting.Yaml.DisplayText.Of(name)}\" is not the name of an image; {ImageReference.Rule}.");
        }

        if (requestId.Length > 64 || requestId.Any(character => character is < '!' or > '~'))
        {
            violations.Add("request_id", "Must be 1-64 printable ASCII characters.");
        }

        violations.ThrowIfAny();
        return project;
    }

    public static string Project(string project, FieldViolations violations)
    {
        if (project.Length == 0)
        {
            return DefaultProject;
        }

        if (Hosting.Configuration.Values.Label(project, out _) is { } complaint)
        {
            violations.Add("project", $"\"{Hosting.Yaml.DisplayText.Of(project)}\" {complaint.What}; {complaint.Remedy}.");
        }

        return project;
    }
}
