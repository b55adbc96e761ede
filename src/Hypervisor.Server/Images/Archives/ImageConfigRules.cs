using System.Text;
using Hypervisor.Hosting.Yaml;

namespace Hypervisor.Server.Images.Archives;

/// <summary>What an image's configuration may say. It ends up in a process's arguments, environment and paths.</summary>
internal static class ImageConfigRules
{
    /// <summary>What the drivers of this release run.</summary>
    public const string Architecture = "amd64";

    public const string OperatingSystem = "linux";

    /// <exception cref="InvalidImageException"/>
    public static void Check(OciConfig config)
    {
        RequirePlatform(config.Architecture, config.Os);
        if (config.Config is not { } process)
        {
            return;
        }

        Strings(process.Env, "Env");
        Strings(process.Entrypoint, "Entrypoint");
        Strings(process.Cmd, "Cmd");
        if (process.Env?.FirstOrDefault(entry => entry!.IndexOf('=') <= 0) is { } nameless)
        {
            throw Refuse("Env", $"has the entry \"{DisplayText.Of(nameless)}\", which is not NAME=value");
        }

        if (process.User is { } user && (user.Length > 256 || user.Any(c => char.IsControl(c) || char.IsWhiteSpace(c))))
        {
            throw Refuse("User", $"is no user (\"{DisplayText.Of(user)}\")");
        }

        if (process.WorkingDir is { Length: > 0 } directory)
        {
            // A working directory below /proc/self/fd leads out of the container (runc, CVE-2024-21626).
            var segments = directory.Split('/', StringSplitOptions.RemoveEmptyEntries);
            if (directory[0] != '/' || directory.Length >= Limits.Images.PathBytes || directory.Contains('\0') || segments.Contains("..") || segments.FirstOrDefault() == "proc")
            {
                throw Refuse("WorkingDir", $"is not allowed (\"{DisplayText.Of(directory)}\"); it must be absolute, without \"..\" and not below /proc");
            }
        }

        if (process.ExposedPorts is { } ports && (ports.Count > Limits.Images.ConfigItems || ports.Keys.FirstOrDefault(port => !IsPort(port)) is not null))
        {
            throw Refuse("ExposedPorts", $"has the entry \"{DisplayText.Of(ports.Keys.FirstOrDefault(port => !IsPort(port)) ?? "")}\", which is not PORT, PORT/tcp or PORT/udp, or too many");
        }

        if (process.StopSignal is { Length: > 0 } signal && (signal.Length > 16 || !signal.All(c => char.IsAsciiLetterUpper(c) || char.IsAsciiDigit(c) || c is '+' or '-')))
        {
            throw Refuse("StopSignal", $"is no signal (\"{DisplayText.Of(signal)}\")");
        }
    }

    public static bool Fits(OciPlatform? platform) => platform is null || (platform.Architecture == Architecture && platform.Os == OperatingSystem);

    public static void RequirePlatform(string? architecture, string? os)
    {
        if (architecture != Architecture || os != OperatingSystem)
        {
            throw new InvalidImageException(
                $"The image is for {DisplayText.Of(os ?? "?")}/{DisplayText.Of(architecture ?? "?")}; nodes run {OperatingSystem}/{Architecture}. Take or make it for --platform {OperatingSystem}/{Architecture}.");
        }
    }

    private static void Strings(IReadOnlyList<string?>? values, string name)
    {
        if (values is null)
        {
            return;
        }

        if (values.Count > Limits.Images.ConfigItems)
        {
            throw Refuse(name, $"has {values.Count} entries; at most {Limits.Images.ConfigItems}");
        }

        foreach (var value in values)
        {
            if (value is null || value.Contains('\0') || Encoding.UTF8.GetByteCount(value) >= Limits.Images.ConfigStringBytes)
            {
                throw Refuse(name, $"has an entry that is null, holds a NUL or is longer than {Limits.Images.ConfigStringBytes} bytes");
            }
        }
    }

    private static bool IsPort(string text)
    {
        var slash = text.IndexOf('/');
        var protocol = slash < 0 ? "tcp" : text[(slash + 1)..];
        var numbers = (slash < 0 ? text : text[..slash]).Split('-');
        return protocol is "tcp" or "udp" or "sctp" && numbers.Length <= 2 && numbers.All(number =>
            ushort.TryParse(number, System.Globalization.NumberStyles.None, System.Globalization.CultureInfo.InvariantCulture, out var port) && port > 0);
    }

    private static InvalidImageException Refuse(string field, string why) => new($"The image configuration's {field} {why}.");
}
