using System.Text.RegularExpressions;
using Hypervisor.Agent.Configuration;
using Hypervisor.Hosting.Yaml;
using Hypervisor.Server.Configuration;
using Xunit;

namespace Hypervisor.Tests.Docs;

/// <summary>Protects whoever copies an example: every key in it is one that the program knows, and what it shows as the default is the default.</summary>
public sealed partial class ExampleConfigurationTests
{
    [Fact]
    public void The_servers_example_shows_the_defaults()
    {
        var (shown, defaults) = (Server(Read("server.example.yaml")), new ServerConfiguration());

        // Lists are compared by their items; those of the defaults are empty.
        Assert.Empty((object[])[.. shown.AllowedOrigins, .. shown.Registries, .. shown.Images.ImportHosts, .. shown.Images.Aliases]);
        Assert.Equal(
            defaults,
            shown with
            {
                AllowedOrigins = defaults.AllowedOrigins,
                Registries = defaults.Registries,
                Images = shown.Images with { ImportHosts = defaults.Images.ImportHosts, Aliases = defaults.Images.Aliases },
            });
    }

    [Fact]
    public void The_agents_example_shows_the_defaults()
    {
        var (shown, defaults) = (Agent(Read("agent.example.yaml")), Agent(""));

        Assert.Equal(defaults.Containerd, shown.Containerd);
        Assert.Equal(
            (defaults.ListenAddress, defaults.ServerAddress, defaults.DataDirectory, defaults.RunDirectory, defaults.Logs, defaults.ImageCacheBytes),
            (shown.ListenAddress, shown.ServerAddress, shown.DataDirectory, shown.RunDirectory, shown.Logs, shown.ImageCacheBytes));
        Assert.Equal(defaults.SupportedInstanceTypes, shown.SupportedInstanceTypes);
    }

    [Fact]
    public void What_the_examples_only_mention_is_known_as_well()
    {
        Assert.NotNull(Agent(Uncommented("agent.example.yaml")).OtlpEndpoint);

        // Files that a passage names are not there: their keys are known all the same, or the message would be another.
        var complaints = Assert.Throws<Hypervisor.Hosting.Configuration.ConfigurationException>(() => Server(Uncommented("server.example.yaml"))).Errors;
        Assert.All(complaints, complaint => Assert.Contains("cannot be read", complaint, StringComparison.Ordinal));
    }

    private static string Read(string name) => File.ReadAllText(Path.Combine(DocumentedPathsTests.Root, "configs", name));

    /// <summary>With every comment that is a key or an item of a list made one; the empty list that the items stand for is left out.</summary>
    private static string Uncommented(string name) => CommentedKey().Replace(Read(name).Replace("registries: []", "registries:", StringComparison.Ordinal), "$1");

    private static ServerConfiguration Server(string text) =>
        ServerConfigurationLoader.Parse(YamlDocument.Load(text, "server.example.yaml"), new Dictionary<string, string>());

    private static AgentConfiguration Agent(string text) =>
        AgentConfigurationLoader.Parse(YamlDocument.Load(text, "agent.example.yaml"), new Dictionary<string, string>(), "machine");

    // "# key: value" and "#  - item", at any depth of the comment; prose has no word that ends in a colon at its beginning.
    [GeneratedRegex(@"^# ?((?: *- )? *[a-z_]+:(?: .*)?)$", RegexOptions.Multiline)]
    private static partial Regex CommentedKey();
}
