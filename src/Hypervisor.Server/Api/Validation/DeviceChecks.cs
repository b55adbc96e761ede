using Hypervisor.Protocol;
using Hypervisor.Server.Api.Errors;

namespace Hypervisor.Server.Api.Validation;

/// <summary>Named devices, asked for, offered or kept back.</summary>
internal static class DeviceChecks
{
    public static void Check(IDictionary<string, int> devices, string field, FieldViolations violations)
    {
        TextChecks.Count(devices.Count, Limits.Instance.Devices, field, violations);
        foreach (var (name, count) in devices)
        {
            var path = $"{field}[{Printable.Quote(name)}]";
            if (!LabelSyntax.IsDnsLabel(name))
            {
                violations.Add(path, "the name is not an RFC 1123 label: 1-63 characters of a-z, 0-9 and '-', beginning and ending with a letter or digit.");
            }

            TextChecks.Range(count, 1, Limits.Instance.DeviceCount, "", path, violations);
        }
    }
}
