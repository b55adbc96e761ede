using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Errors;
using Hypervisor.Server.Api.Validation;
using Hypervisor.Server.Groups;

namespace Hypervisor.Server.Api.Instances;

/// <summary>Everything that may be wrong with a create request, found at once. Paths are as in the request.</summary>
internal static class CreateValidation
{
    /// <returns>The project that the request means.</returns>
    public static string Check(CreateInstanceRequest request, FieldViolations violations)
    {
        var project = Projects.Resolve(request.Project, violations);
        if (!LabelSyntax.IsDnsLabel(request.Name))
        {
            violations.Add("name", request.Name.Length == 0
                ? "is required: 1-63 characters of a-z, 0-9 and '-', not at the ends."
                : $"'{Printable.Quote(request.Name)}' is not 1-63 characters of a-z, 0-9 and '-', not at the ends.");
        }

        RequestChecks.CheckRequestId(request.RequestId, violations);
        CheckLabels(request.Labels, violations);
        CheckReserved(request.Labels, violations);
        CheckAnnotations(request.Annotations, violations);
        if (request.Spec is not { } spec)
        {
            violations.Add("spec", "is required.");
            return project;
        }

        if (request.CalculateSize() > Limits.Instance.RequestBytes)
        {
            violations.Add("spec", $"the request takes {request.CalculateSize()} bytes; at most {Limits.Instance.RequestBytes} are allowed.");
        }

        SpecValidation.Check(spec, "spec", violations);
        return project;
    }

    public static void CheckLabels(IDictionary<string, string> labels, FieldViolations violations, string field = "labels")
    {
        TextChecks.Count(labels.Count, Limits.Instance.Labels, field, violations);
        foreach (var (key, value) in labels)
        {
            var path = $"{field}[{Printable.Quote(key)}]";
            if (LabelSyntax.KeyProblem(key) is { } keyProblem)
            {
                violations.Add(path, $"the key {keyProblem}.");
            }

            if (LabelSyntax.ValueProblem(value) is { } valueProblem)
            {
                violations.Add(path, $"the value '{Printable.Quote(value)}' {valueProblem}.");
            }
        }
    }

    /// <summary>Labels that the system gives: who selects by them may rely on it.</summary>
    public static void CheckReserved(IDictionary<string, string> labels, FieldViolations violations, string field = "labels")
    {
        if (labels.ContainsKey(GroupLabel.Key))
        {
            violations.Add($"{field}[{GroupLabel.Key}]", "is given by the server to the members of groups; leave it out.");
        }
    }

    public static void CheckAnnotations(IDictionary<string, string> annotations, FieldViolations violations, string field = "annotations")
    {
        TextChecks.Count(annotations.Count, Limits.Instance.Annotations, field, violations);
        var characters = 0L;
        foreach (var (key, value) in annotations)
        {
            var path = $"{field}[{Printable.Quote(key)}]";
            if (LabelSyntax.KeyProblem(key) is { } problem)
            {
                violations.Add(path, $"the key {problem}.");
            }

            TextChecks.Block(value, Limits.Instance.AnnotationBytes, path, violations);
            characters += key.Length + System.Text.Encoding.UTF8.GetByteCount(value);
        }

        if (characters > Limits.Instance.AnnotationBytes)
        {
            violations.Add(field, $"take {characters} bytes together; at most {Limits.Instance.AnnotationBytes} are allowed.");
        }
    }
}
