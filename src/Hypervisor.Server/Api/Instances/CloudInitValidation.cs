using System.Text;
using System.Text.RegularExpressions;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Errors;
using Hypervisor.Server.Api.Validation;

namespace Hypervisor.Server.Api.Instances;

/// <summary>What a guest may be told by cloud-init. All of it is data to us: nothing here is run, and nothing of it is understood but its form.</summary>
internal static partial class CloudInitValidation
{
    private const string CloudConfig = "#cloud-config";

    public static void Check(CloudInitSpec? spec, string field, FieldViolations violations)
    {
        if (spec is null)
        {
            return;
        }

        CheckUserData(spec, $"{field}.user_data", violations);
        CheckUsers(spec, $"{field}.users", violations);
        CheckFiles(spec, $"{field}.files", violations);
        TextChecks.Count(spec.Packages.Count, Limits.CloudInit.Packages, $"{field}.packages", violations);
        foreach (var (package, index) in spec.Packages.Take(Limits.CloudInit.Packages).Select((package, index) => (package, index)))
        {
            if (!Package().IsMatch(package))
            {
                violations.Add($"{field}.packages[{index}]", $"'{Printable.Quote(package)}' is not a package's name: a-z, 0-9, '+', '-' and '.', at least 2 of them.");
            }
        }

        TextChecks.Count(spec.RunCommands.Count, Limits.CloudInit.Commands, $"{field}.run_commands", violations);
        foreach (var (command, index) in spec.RunCommands.Take(Limits.CloudInit.Commands).Select((command, index) => (command, index)))
        {
            if (command.Length == 0)
            {
                violations.Add($"{field}.run_commands[{index}]", "is empty.");
            }

            TextChecks.Block(command, Limits.Instance.ArgumentLength, $"{field}.run_commands[{index}]", violations);
        }
    }

    private static void CheckUserData(CloudInitSpec spec, string field, FieldViolations violations)
    {
        var text = spec.UserData;
        if (text.Length == 0 || !TextChecks.Block(text, Limits.CloudInit.Bytes, field, violations))
        {
            return;
        }

        if (Encoding.UTF8.GetByteCount(text) > Limits.CloudInit.Bytes)
        {
            violations.Add(field, $"takes {Encoding.UTF8.GetByteCount(text)} bytes; at most {Limits.CloudInit.Bytes} are allowed.");
        }

        if (text[0] != '#' && !text.StartsWith("Content-Type:", StringComparison.OrdinalIgnoreCase) && !text.StartsWith("MIME-Version:", StringComparison.OrdinalIgnoreCase))
        {
            violations.Add(field, $"begins with '{Printable.Quote(FirstLine(text))}', which cloud-init would pass over; its first line has to be #cloud-config, #! and a program, or a MIME header.");
        }
        else if (!IsCloudConfig(text) && (spec.Users.Count + spec.Packages.Count + spec.Files.Count + spec.RunCommands.Count > 0))
        {
            violations.Add(field, "can be merged with users, packages, files and run_commands only if its first line is #cloud-config; say all of it in user_data, or none.");
        }
    }

    private static bool IsCloudConfig(string text) => FirstLine(text).TrimEnd() == CloudConfig;

    private static string FirstLine(string text) => text.AsSpan().IndexOfAny('\r', '\n') is >= 0 and var end ? text[..end] : text;

    private static void CheckUsers(CloudInitSpec spec, string field, FieldViolations violations)
    {
        TextChecks.Count(spec.Users.Count, Limits.CloudInit.Users, field, violations);
        HashSet<string> names = new(StringComparer.Ordinal);
        for (var index = 0; index < Math.Min(spec.Users.Count, Limits.CloudInit.Users); index++)
        {
            var (user, path) = (spec.Users[index], $"{field}[{index}]");
            if (!Account().IsMatch(user.Name))
            {
                violations.Add($"{path}.name", $"'{Printable.Quote(user.Name)}' is not a user's name: a letter, then a-z, 0-9, '-' and '_', at most 32.");
            }
            else if (!names.Add(user.Name))
            {
                violations.Add($"{path}.name", $"'{user.Name}' is named twice.");
            }

            CheckKeys(user, $"{path}.ssh_authorized_keys", violations);
            TextChecks.Count(user.Groups.Count, Limits.CloudInit.Groups, $"{path}.groups", violations);
            foreach (var (group, number) in user.Groups.Take(Limits.CloudInit.Groups).Select((group, number) => (group, number)))
            {
                if (!Account().IsMatch(group))
                {
                    violations.Add($"{path}.groups[{number}]", $"'{Printable.Quote(group)}' is not a group's name: a letter, then a-z, 0-9, '-' and '_', at most 32.");
                }
            }

            // The value itself is a secret: it is not shown.
            if (user.PasswordHash.Length > 0 && !Hash().IsMatch(user.PasswordHash))
            {
                violations.Add($"{path}.password_hash", "is not what crypt(3) makes, such as $6$SALT$HASH; 'openssl passwd -6' makes one. A password itself does not belong here.");
            }

            CheckAbsolute(user.Shell, $"{path}.shell", violations, required: false);
        }
    }

    private static void CheckKeys(CloudInitUser user, string field, FieldViolations violations)
    {
        TextChecks.Count(user.SshAuthorizedKeys.Count, Limits.CloudInit.Keys, field, violations);
        for (var index = 0; index < Math.Min(user.SshAuthorizedKeys.Count, Limits.CloudInit.Keys); index++)
        {
            var key = user.SshAuthorizedKeys[index];
            if (TextChecks.Line(key, Limits.CloudInit.KeyCharacters, $"{field}[{index}]", violations) && !Key().IsMatch(key))
            {
                violations.Add(
                    $"{field}[{index}]", $"'{Printable.Quote(key)}' is not one line of authorized_keys, such as \"ssh-ed25519 AAAA... name\"; take what is in a .pub file.");
            }
        }
    }

    private static void CheckFiles(CloudInitSpec spec, string field, FieldViolations violations)
    {
        TextChecks.Count(spec.Files.Count, Limits.CloudInit.Files, field, violations);
        HashSet<string> paths = new(StringComparer.Ordinal);
        for (var index = 0; index < Math.Min(spec.Files.Count, Limits.CloudInit.Files); index++)
        {
            var (file, path) = (spec.Files[index], $"{field}[{index}]");
            if (CheckAbsolute(file.Path, $"{path}.path", violations, required: true) && !paths.Add(file.Path))
            {
                violations.Add($"{path}.path", $"'{Printable.Quote(file.Path)}' is named twice.");
            }

            if (file.Mode is < 0 or > 0xFFF)
            {
                violations.Add($"{path}.mode", $"{file.Mode} is outside 0 to 4095, which is 07777.");
            }

            if (file.Owner.Length > 0 && !Owner().IsMatch(file.Owner))
            {
                violations.Add($"{path}.owner", $"'{Printable.Quote(file.Owner)}' is not 'user' or 'user:group'.");
            }
        }

        var bytes = spec.Files.Sum(file => (long)file.Content.Length);
        if (bytes > Limits.CloudInit.Bytes)
        {
            violations.Add(field, $"hold {bytes} bytes together; at most {Limits.CloudInit.Bytes} are allowed: fetch larger ones from the network.");
        }
    }

    private static bool CheckAbsolute(string path, string field, FieldViolations violations, bool required)
    {
        if (path.Length == 0 && !required)
        {
            return true;
        }

        if (!TextChecks.Line(path, Limits.Instance.PathLength - 1, field, violations))
        {
            return false;
        }

        if (!path.StartsWith('/') || path.EndsWith('/'))
        {
            violations.Add(field, $"'{Printable.Quote(path)}' is not the absolute path of a file.");
            return false;
        }

        return true;
    }

    [GeneratedRegex(@"^[a-z][a-z0-9_-]{0,31}\z")]
    private static partial Regex Account();

    [GeneratedRegex(@"^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,31}(:[a-zA-Z0-9][a-zA-Z0-9_.-]{0,31})?\z")]
    private static partial Regex Owner();

    // Debian Policy, 5.6.1.
    [GeneratedRegex(@"^[a-z0-9][a-z0-9+.-]{1,127}\z")]
    private static partial Regex Package();

    // crypt(5): a prefix between dollar signs; then none of ':', ';', '*', '!', '\' and white space.
    [GeneratedRegex(@"^\$[a-z0-9]{1,8}\$[!-~-[:;*!\\]]{1,500}\z")]
    private static partial Regex Hash();

    // sshd(8), AUTHORIZED_KEYS FILE FORMAT: options perhaps, then a type and base64.
    [GeneratedRegex(@"^(.+\s)?(ssh-|ecdsa-|sk-)[a-z0-9@.-]+ [A-Za-z0-9+/]+={0,3}(\s.*)?\z")]
    private static partial Regex Key();
}
