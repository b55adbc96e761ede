using System.Text;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Errors;
using Hypervisor.Server.Api.Validation;

namespace Hypervisor.Server.Api.Instances;

/// <summary>What the process of an instance may be asked to be, whatever its type. Whether its image has one is for <see cref="ImageValidation"/>.</summary>
internal static class ProcessValidation
{
    private const long MaxId = uint.MaxValue - 1;

    public static void Check(ProcessSpec? process, string field, FieldViolations violations)
    {
        if (process is null)
        {
            return;
        }

        CheckArguments(process, field, violations);
        CheckEnvironment(process, $"{field}.env", violations);
        if (process.WorkingDir.Length > 0
            && TextChecks.Line(process.WorkingDir, Limits.Instance.PathLength, $"{field}.working_dir", violations)
            && process.WorkingDir[0] != '/')
        {
            violations.Add($"{field}.working_dir", $"'{Printable.Quote(process.WorkingDir)}' is not an absolute path.");
        }

        if (process.User.Length > 0 && !IsUser(process.User))
        {
            violations.Add($"{field}.user", $"'{Printable.Quote(process.User)}' is not 'user', 'uid', 'user:group' or 'uid:gid'.");
        }

        // Linux keeps 64 characters (HOST_NAME_MAX).
        if (process.Hostname.Length > 0 && (process.Hostname.Length > 64 || !LabelSyntax.IsSubdomain(process.Hostname)))
        {
            violations.Add($"{field}.hostname", $"'{Printable.Quote(process.Hostname)}' is not a host name of at most 64 characters (a-z, 0-9, '-', '.').");
        }
    }

    private static void CheckArguments(ProcessSpec process, string field, FieldViolations violations)
    {
        TextChecks.Count(process.Command.Count, Limits.Instance.Arguments, $"{field}.command", violations);
        TextChecks.Count(process.Args.Count, Limits.Instance.Arguments, $"{field}.args", violations);
        if (process.Command.Count > 0 && process.Command[0].Length == 0)
        {
            violations.Add($"{field}.command[0]", "is empty; it names the program.");
        }

        foreach (var (name, list) in new[] { ("command", process.Command), ("args", process.Args) })
        {
            for (var index = 0; index < Math.Min(list.Count, Limits.Instance.Arguments); index++)
            {
                TextChecks.Block(list[index], Limits.Instance.ArgumentLength, $"{field}.{name}[{index}]", violations);
            }
        }

        var bytes = process.Command.Concat(process.Args).Sum(argument => (long)Encoding.UTF8.GetByteCount(argument) + 1);
        if (bytes > Limits.Instance.ArgumentBytes)
        {
            violations.Add(field, $"command and args take {bytes} bytes; at most {Limits.Instance.ArgumentBytes} are allowed.");
        }
    }

    private static void CheckEnvironment(ProcessSpec process, string field, FieldViolations violations)
    {
        TextChecks.Count(process.Env.Count, Limits.Instance.Environment, field, violations);
        var bytes = 0L;
        for (var index = 0; index < Math.Min(process.Env.Count, Limits.Instance.Environment); index++)
        {
            var variable = process.Env[index];
            var name = variable.Name;
            if (name.Length is 0 or > 256 || name.Any(character => character is <= ' ' or > '~' or '='))
            {
                violations.Add(
                    $"{field}[{index}].name", $"'{Printable.Quote(name)}' is not 1-256 printable ASCII characters without space and '='.");
            }

            TextChecks.Block(variable.Value, Limits.Instance.ArgumentLength, $"{field}[{index}].value", violations);
            bytes += name.Length + Encoding.UTF8.GetByteCount(variable.Value) + 2L;
        }

        if (bytes > Limits.Instance.EnvironmentBytes)
        {
            violations.Add(field, $"takes {bytes} bytes; at most {Limits.Instance.EnvironmentBytes} are allowed.");
        }
    }

    private static bool IsUser(string user)
    {
        var colon = user.IndexOf(':', StringComparison.Ordinal);
        return colon < 0 ? IsAccount(user) : IsAccount(user[..colon]) && IsAccount(user[(colon + 1)..]);
    }

    // Names as useradd(8) takes them, upper case allowed since images have them.
    private static bool IsAccount(string account)
    {
        if (account.Length is 0 or > 32)
        {
            return false;
        }

        if (account.All(char.IsAsciiDigit))
        {
            return long.TryParse(account, out var id) && id <= MaxId;
        }

        return (char.IsAsciiLetter(account[0]) || account[0] == '_')
            && account.All(character => char.IsAsciiLetterOrDigit(character) || character is '_' or '-' or '.');
    }
}
