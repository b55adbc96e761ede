using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Networking.Attachments;

/// <summary>
/// Reads what a guest is to be told. The API checked it; what becomes a line of another program's configuration is checked again,
/// and left out where it is not what it should be: the guest's address matters more than its name.
/// </summary>
internal static class GuestAnswers
{
    private const int LabelCharacters = 63;

    public static GuestAnswer Of(NetworkSpec spec, string hostname) => Of(hostname, spec.DnsServers, spec.DnsSearch);

    public static GuestAnswer Of(string hostname, IEnumerable<string> dnsServers, IEnumerable<string> dnsSearch) =>
        new(IsLabel(hostname) ? hostname : "", Resolvers.Parse(dnsServers), Domains(dnsSearch));

    /// <summary>RFC 1123, section 2.1: letters, digits and hyphens, no hyphen first or last.</summary>
    public static bool IsLabel(string text) =>
        text.Length is >= 1 and <= LabelCharacters && text[0] != '-' && text[^1] != '-'
        && text.All(character => char.IsAsciiLetterOrDigit(character) || character == '-');

    private static List<string> Domains(IEnumerable<string> requested)
    {
        var domains = new List<string>();
        var characters = 0;
        foreach (var domain in requested.Where(domain => domain.Split('.').All(IsLabel)))
        {
            // Each is a byte longer on the wire, and ends with another.
            characters += domain.Length + 2;
            if (characters > NetworkLimits.SearchCharacters)
            {
                break;
            }

            domains.Add(domain);
        }

        return domains;
    }
}
