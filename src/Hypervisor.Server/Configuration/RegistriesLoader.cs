using Hypervisor.Hosting.Configuration;
using Hypervisor.Hosting.Registries;
using Hypervisor.Hosting.Yaml;

namespace Hypervisor.Server.Configuration;

/// <summary>Reads the section <c>registries</c>.</summary>
internal static class RegistriesLoader
{
    private const int MaxRegistries = 64;
    private const int MaxMirrors = 8;

    public static IReadOnlyList<RegistryConfiguration> Read(ConfigurationReader reader)
    {
        var sections = reader.Sections("registries", MaxRegistries);
        if (sections.Count == 0)
        {
            return [];
        }

        List<RegistryConfiguration> registries = [];
        foreach (var section in sections)
        {
            var registry = Read(reader, section);
            if (registries.Any(other => other.Host == registry.Host))
            {
                reader.Fail($"repeats a registry ({DisplayText.Of(registry.Host)})", "keep one of them", $"{section}.host");
            }
            else
            {
                registries.Add(registry);
            }
        }

        return registries;
    }

    private static RegistryConfiguration Read(ConfigurationReader reader, string section)
    {
        var passwordFile = reader.Value<string?>($"{section}.password_file", null, Path);
        var authority = reader.Value<string?>($"{section}.ca", null, Path);
        var registry = new RegistryConfiguration
        {
            Host = reader.Value<string>($"{section}.host", "", Host),
            Mirrors = reader.List<string>($"{section}.mirrors", [], MaxMirrors, Host),
            Username = reader.Value($"{section}.username", "", Values.Text(256)),
            Password = reader.Secret($"{section}.password"),
            PlainHttp = reader.Value<bool>($"{section}.plain_http", false, Values.Bool),
        };
        if (!reader.IsSet($"{section}.host"))
        {
            reader.Fail("is missing", "name the registry as in image names, registry.example:5000", $"{section}.host", "registries");
        }

        if (!registry.Password.IsEmpty && passwordFile is not null)
        {
            reader.Fail("is given besides password", "keep one of them", $"{section}.password_file");
        }
        else if (passwordFile is not null)
        {
            registry = registry with { Password = ConfiguredFiles.FirstLine(reader, $"{section}.password_file", passwordFile) };
        }

        if ((registry.Username.Length == 0) != registry.Password.IsEmpty)
        {
            reader.Fail(
                "is given without its counterpart", "give both username and password (or password_file)",
                $"{section}.username", $"{section}.password", $"{section}.password_file");
        }

        if (authority is not null && registry.PlainHttp)
        {
            reader.Fail("says that the registry encrypts, and plain_http that it does not", "keep one of them", $"{section}.ca");
        }

        return authority is null
            ? registry
            : registry with { CertificateAuthority = ConfiguredFiles.Text(reader, $"{section}.ca", authority) ?? "" };
    }

    private static Complaint? Path(string text, out string? value) => Values.AbsolutePath()(text, out value!);

    public static Complaint? Host(string text, out string value)
    {
        value = text;
        return text.Length > 0 && ImageReference.IsHost(text)
            ? null
            : new("is not a host", "write host or host:port in lower case, without https:// or a path");
    }
}
