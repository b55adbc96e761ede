using Hypervisor.Hosting.Registries;
using Hypervisor.Server.Api.Errors;
using Hypervisor.Server.Api.Validation;

namespace Hypervisor.Server.Images;

/// <summary>What every request about images has in common.</summary>
internal static class ImageRequests
{
    /// <summary>Throws every field violation at once.</summary>
    /// <param name="violations">Those found before.</param>
    /// <returns>The project.</returns>
    public static string Check(
        string project, string name, string requestId, bool nameRequired, string nameField, out ImageReference? reference, FieldViolations? violations = null)
    {
        violations ??= new FieldViolations();
        project = Projects.Resolve(project, violations);
        reference = null;
        if (ImageReference.TryParse(name, out var parsed))
        {
            reference = parsed;
        }
        else if (name.Length > 0 || nameRequired)
        {
            violations.Add(nameField, $"\"{Hosting.Yaml.DisplayText.Of(name)}\" is not the name of an image; {ImageReference.Rule}.");
        }

        RequestChecks.CheckRequestId(requestId, violations);
        violations.ThrowIfAny();
        return project;
    }
}
