using System.Text;
using Hypervisor.Ctl.Errors;
using Hypervisor.Ctl.Specs;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Ctl.Commands.Instances;

/// <summary>What a guest that boots a disk image is told: a file of user-data, and keys that open an account.</summary>
internal static class CloudInitFlags
{
    /// <summary>The account that keys open when none is named.</summary>
    public const string User = "admin";

    /// <summary>The server's own bound of user-data, and a byte more, so that it is the server that says so.</summary>
    private const int MostBytes = (64 * 1024) + 1;

    /// <exception cref="CtlException">It cannot be read.</exception>
    public static string ReadText(CtlEnvironment environment, string path)
    {
        using var file = path == "-" ? environment.OpenInput() : InputFile.Open(path);
        var content = new byte[MostBytes];
        var length = file.ReadAtLeast(content, content.Length, throwOnEndOfStream: false);
        try
        {
            return new UTF8Encoding(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true).GetString(content, 0, length);
        }
        catch (DecoderFallbackException) when (length < MostBytes)
        {
            throw CtlException.Usage($"{path} is not UTF-8 text.", "cloud-init's user-data is text; compressed files are not taken.");
        }
        catch (DecoderFallbackException)
        {
            throw CtlException.Usage($"{path} holds more than 64 KiB.", "Have the guest fetch the rest from the network.");
        }
    }

    /// <summary>Adds keys to an account, which is made with all rights where it does not exist.</summary>
    /// <param name="keys">A key itself, or a file with one key per line, such as ~/.ssh/id_ed25519.pub.</param>
    public static void AddKeys(CtlEnvironment environment, CloudInitSpec spec, IEnumerable<string> keys)
    {
        var lines = keys.SelectMany(key => IsKey(key) ? [key] : Lines(environment, key)).ToList();
        if (spec.Users.FirstOrDefault() is not { } user)
        {
            user = new CloudInitUser { Name = User, Sudo = true, Shell = "/bin/bash" };
            spec.Users.Add(user);
        }

        user.SshAuthorizedKeys.Add(lines.Except(user.SshAuthorizedKeys));
    }

    /// <summary>No name of a file that people have begins so and has a space.</summary>
    private static bool IsKey(string text) =>
        text.Contains(' ', StringComparison.Ordinal)
        && (text.StartsWith("ssh-", StringComparison.Ordinal) || text.StartsWith("ecdsa-", StringComparison.Ordinal) || text.StartsWith("sk-", StringComparison.Ordinal));

    private static List<string> Lines(CtlEnvironment environment, string path)
    {
        var text = ReadText(environment, path);
        if (text.Contains("PRIVATE KEY", StringComparison.Ordinal))
        {
            throw CtlException.Usage($"--ssh-key: {path} holds a private key, which is nobody else's business.", $"Name the public one: {path}.pub");
        }

        var lines = text.Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries).Where(line => line[0] != '#').ToList();
        return lines.Count > 0 ? lines : throw CtlException.Usage($"--ssh-key: {path} holds no key.");
    }
}
