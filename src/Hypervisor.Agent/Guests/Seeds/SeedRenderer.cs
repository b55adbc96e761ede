using System.Security.Cryptography;
using System.Text;
using System.Text.Json.Nodes;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Guests.Seeds;

/// <summary>What cloud-init's NoCloud source reads: three files.</summary>
internal sealed record Seed(string MetaData, string UserData, string NetworkConfig);

/// <param name="Uid">Another one makes cloud-init treat the machine as new.</param>
/// <param name="Address">Null without a network.</param>
internal sealed record SeedSource(string Uid, string Hostname, GuestAddress? Address, IReadOnlyList<string> DnsServers, IReadOnlyList<string> DnsSearch);

/// <summary>Renders seeds. All is JSON, which is YAML too: what users write is quoted by a JSON writer and can be nothing but a value.</summary>
internal static class SeedRenderer
{
    private const string CloudConfig = "#cloud-config";

    /// <param name="spec">Null for an instance that says nothing to cloud-init; it is still told who it is.</param>
    public static Seed Render(SeedSource source, CloudInitSpec? spec) => new(MetaData(source), UserData(spec ?? new()), NetworkConfig(source));

    private static string MetaData(SeedSource source) => Text(new JsonObject
    {
        ["instance-id"] = source.Uid,
        ["local-hostname"] = source.Hostname,
    });

    /// <summary>Format 2, found by the address of the card: its name is the guest's affair.</summary>
    private static string NetworkConfig(SeedSource source)
    {
        var cards = new JsonObject();
        if (source.Address is { } address)
        {
            var card = new JsonObject
            {
                ["match"] = new JsonObject { ["macaddress"] = address.HardwareAddress },
                ["dhcp4"] = false,
                ["dhcp6"] = false,
                ["mtu"] = address.Mtu,
                ["addresses"] = new JsonArray($"{address.Address}/{address.PrefixLength}"),
                // Not "default", which older versions of cloud-init take for an address.
                ["routes"] = new JsonArray(new JsonObject { ["to"] = "0.0.0.0/0", ["via"] = address.Gateway.ToString() }),
            };
            var resolvers = new JsonObject();
            AddList(resolvers, "addresses", source.DnsServers);
            AddList(resolvers, "search", source.DnsSearch);
            if (resolvers.Count > 0)
            {
                card["nameservers"] = resolvers;
            }

            cards["primary"] = card;
        }

        return Text(new JsonObject { ["version"] = 2, ["ethernets"] = cards });
    }

    private static string UserData(CloudInitSpec spec)
    {
        var own = Own(spec);
        if (spec.UserData.Length == 0)
        {
            return CloudConfig + "\n" + Text(own);
        }

        // Nothing to merge, or nothing that can be (which the control plane has refused): as it was written.
        return own.Count == 0 || !IsCloudConfig(spec.UserData) ? spec.UserData : Parts(spec.UserData, CloudConfig + "\n" + Text(own));
    }

    internal static bool IsCloudConfig(string userData) =>
        userData.StartsWith(CloudConfig, StringComparison.Ordinal)
        && (userData.Length == CloudConfig.Length || userData[CloudConfig.Length] is '\n' or '\r' or ' ' or '\t');

    private static JsonObject Own(CloudInitSpec spec)
    {
        var config = new JsonObject();
        if (spec.Users.Count > 0)
        {
            // The image's default user stays: leaving it out of the list removes it.
            config["users"] = new JsonArray([JsonValue.Create("default"), .. spec.Users.Select(User)]);
        }

        if (spec.Packages.Count > 0)
        {
            config["package_update"] = true;
            AddList(config, "packages", spec.Packages);
        }

        if (spec.Files.Count > 0)
        {
            config["write_files"] = new JsonArray([.. spec.Files.Select(WrittenFile)]);
        }

        AddList(config, "runcmd", spec.RunCommands);
        return config;
    }

    private static JsonObject User(CloudInitUser user)
    {
        var rendered = new JsonObject { ["name"] = user.Name };
        AddList(rendered, "ssh_authorized_keys", user.SshAuthorizedKeys);
        AddList(rendered, "groups", user.Groups);
        if (user.Sudo)
        {
            rendered["sudo"] = "ALL=(ALL) NOPASSWD:ALL";
        }

        if (user.PasswordHash.Length > 0)
        {
            rendered["hashed_passwd"] = user.PasswordHash;
            rendered["lock_passwd"] = false;
        }

        if (user.Shell.Length > 0)
        {
            rendered["shell"] = user.Shell;
        }

        return rendered;
    }

    private static JsonObject WrittenFile(CloudInitFile file)
    {
        var rendered = new JsonObject
        {
            ["path"] = file.Path,
            // Any bytes.
            ["encoding"] = "b64",
            ["content"] = file.Content.ToBase64(),
            ["permissions"] = "0" + Convert.ToString(file.Mode == 0 ? 0x1A4 : file.Mode, 8),
        };
        if (file.Owner.Length > 0)
        {
            rendered["owner"] = file.Owner;
        }

        return rendered;
    }

    /// <summary>
    /// Two documents, which cloud-init merges itself: ours adds to the user's lists and changes no value of theirs. So nobody has to
    /// understand the user's YAML but cloud-init. Content is in base64, in which no boundary can occur.
    /// </summary>
    private static string Parts(string theirs, string ours)
    {
        var boundary = "part-" + Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(theirs + "\0" + ours)))[..32];
        var text = new StringBuilder();
        text.Append("Content-Type: multipart/mixed; boundary=\"").Append(boundary).Append("\"\nMIME-Version: 1.0\n\n");
        foreach (var (content, merging) in (ReadOnlySpan<(string, string)>)[(theirs, ""), (ours, "Merge-Type: list(append)+dict(no_replace,recurse_list)+str()\n")])
        {
            text.Append("--").Append(boundary).Append('\n')
                .Append("Content-Type: text/cloud-config; charset=\"utf-8\"\nMIME-Version: 1.0\nContent-Transfer-Encoding: base64\n")
                .Append(merging)
                .Append('\n')
                .Append(Convert.ToBase64String(Encoding.UTF8.GetBytes(content), Base64FormattingOptions.InsertLineBreaks).ReplaceLineEndings("\n"))
                .Append('\n');
        }

        return text.Append("--").Append(boundary).Append("--\n").ToString();
    }

    private static void AddList(JsonObject target, string name, IReadOnlyCollection<string> values)
    {
        if (values.Count > 0)
        {
            target[name] = new JsonArray([.. values.Select(value => JsonValue.Create(value))]);
        }
    }

    private static string Text(JsonObject document) => document.ToJsonString() + "\n";
}
