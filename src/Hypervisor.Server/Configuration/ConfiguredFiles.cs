using Hypervisor.Hosting.Configuration;
using Hypervisor.Hosting.Yaml;

namespace Hypervisor.Server.Configuration;

/// <summary>Small files that keys name, read when the configuration is.</summary>
internal static class ConfiguredFiles
{
    private const int MaxCharacters = 256 * 1024;

    /// <summary>A password; a file that is none is complained of, and something takes its place.</summary>
    public static Secret FirstLine(ConfigurationReader reader, string key, string path)
    {
        if (Text(reader, key, path) is not { } text)
        {
            return new Secret("unreadable");
        }

        var line = text.Split('\n')[0].TrimEnd('\r');
        if (line.Length == 0)
        {
            reader.Fail($"names a file whose first line is empty ({DisplayText.Of(path)})", "write the password there", key);
            return new Secret("unreadable");
        }

        return new Secret(line);
    }

    /// <summary>The beginning of a file; null after a complaint.</summary>
    public static string? Text(ConfigurationReader reader, string key, string path)
    {
        try
        {
            using var file = new StreamReader(File.OpenRead(path));
            var buffer = new char[MaxCharacters];
            return new string(buffer, 0, file.ReadBlock(buffer));
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            reader.Fail($"cannot be read ({DisplayText.Of(path)})", "check that the file exists and its permissions", key);
            return null;
        }
    }
}
