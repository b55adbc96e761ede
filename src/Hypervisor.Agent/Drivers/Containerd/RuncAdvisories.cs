using System.Globalization;
using System.Text.RegularExpressions;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Drivers.Containerd;

/// <summary>Which known holes a runc still has, by the version it tells. Pure.</summary>
/// <remarks>
/// Facts, from https://github.com/opencontainers/runc/security/advisories and https://security-tracker.debian.org/tracker/CVE-2024-21626.
/// A distribution repairs old versions, and most builds do not tell their package's revision ("1.1.5+ds1" may be either): then
/// nothing is claimed, and who operates the node is asked to look.
/// </remarks>
internal static partial class RuncAdvisories
{
    private static readonly Advisory[] Known =
    [
        new("escape", "CVE-2024-21626", "1.1.12", [(1, 1, 12, 0)], DebianFixOf21626()),

        // Of these, Debian's revision with the fix is not known here: one that names its revision is asked about like the others.
        new("make empty files on the node", "CVE-2024-45310", "1.1.14 and 1.2.0-rc.3", [(1, 1, 14, 0), (1, 2, 0, 3)], null),
        new(
            "escape",
            "CVE-2025-31133, CVE-2025-52565 and CVE-2025-52881",
            "1.2.8, 1.3.3 and 1.4.0-rc.3",
            [(1, 2, 8, 0), (1, 3, 3, 0), (1, 4, 0, 3)],
            null),
    ];

    /// <param name="version">"1.1.12", "1.4.0-rc.2", "1.1.5+ds1", or with Debian's revision "1.1.5+ds1-1+deb12u1".</param>
    /// <returns>Nothing for a version that cannot be read.</returns>
    public static IEnumerable<RuntimeWarning> For(string version)
    {
        if (Upstream().Match(version) is not { Success: true } match)
        {
            yield break;
        }

        var (numbers, isPackaged) = (Numbers(match), version.Length > match.Length);
        foreach (var advisory in Known.Where(advisory => !advisory.IsFixedUpstream(numbers) && !(advisory.Packaged?.IsMatch(version) ?? false)))
        {
            // With the revision that has the fix known, a version that tells another revision lacks it.
            var isCertain = !isPackaged || (advisory.Packaged is not null && TellsRevision().IsMatch(version));
            yield return isCertain
                ? new RuntimeWarning
                {
                    Reason = RuntimeWarnings.Vulnerable,
                    Message = $"runc {version} lets containers {advisory.Effect} ({advisory.Names}; fixed in {advisory.FixedIn}); "
                        + "upgrade the package runc",
                }
                : new RuntimeWarning
                {
                    Reason = RuntimeWarnings.PossiblyVulnerable,
                    Message = $"runc {version} is older than the releases that do not let containers {advisory.Effect} "
                        + $"({advisory.Names}; fixed in {advisory.FixedIn}) and does not tell whether its package has the fix; "
                        + "look there, or upgrade the package runc",
                };
        }
    }

    private static (int Major, int Minor, int Patch, int Candidate) Numbers(Match match)
    {
        return (Of("major"), Of("minor"), Of("patch"), match.Groups["rc"].Success ? Of("rc") : int.MaxValue);

        int Of(string group) => int.TryParse(match.Groups[group].ValueSpan, NumberStyles.None, CultureInfo.InvariantCulture, out var number) ? number : 0;
    }

    [GeneratedRegex("""^(?<major>\d+)\.(?<minor>\d+)\.(?<patch>\d+)([-~]rc\.?(?<rc>\d+))?""", RegexOptions.CultureInvariant | RegexOptions.ExplicitCapture)]
    private static partial Regex Upstream();

    [GeneratedRegex("""\+ds\d*-\d""", RegexOptions.CultureInvariant)]
    private static partial Regex TellsRevision();

    // Debian 12 and 11.
    [GeneratedRegex("""^(1\.1\.5\+ds1-1\+deb12u[1-9]|1\.0\.0~rc93\+ds1-5\+deb11u([3-9]|\d\d))""", RegexOptions.CultureInvariant)]
    private static partial Regex DebianFixOf21626();

    /// <param name="Effect">What a container can do, after "lets containers".</param>
    /// <param name="Fixed">The first fixed release of each line, with its candidate; the last line's fix is in all later lines.</param>
    /// <param name="Packaged">Packages of older versions that have the fix.</param>
    private sealed record Advisory(
        string Effect, string Names, string FixedIn, (int Major, int Minor, int Patch, int Candidate)[] Fixed, Regex? Packaged)
    {
        public bool IsFixedUpstream((int Major, int Minor, int Patch, int Candidate) version)
        {
            foreach (var release in Fixed)
            {
                if ((version.Major, version.Minor) == (release.Major, release.Minor))
                {
                    return (version.Patch, version.Candidate).CompareTo((release.Patch, release.Candidate)) >= 0;
                }
            }

            return (version.Major, version.Minor).CompareTo((Fixed[^1].Major, Fixed[^1].Minor)) > 0;
        }
    }
}

/// <summary>Reasons of a <see cref="RuntimeWarning"/>.</summary>
internal static class RuntimeWarnings
{
    public const string Vulnerable = "KnownVulnerability";
    public const string PossiblyVulnerable = "PossibleVulnerability";
    public const string NoSeccompProfile = "NoSeccompProfile";
}
