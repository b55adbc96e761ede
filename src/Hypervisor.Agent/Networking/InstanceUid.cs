using System.Diagnostics.CodeAnalysis;

namespace Hypervisor.Agent.Networking;

/// <summary>Uids become file names here, so they are checked here, whoever checked before.</summary>
internal static class InstanceUid
{
    /// <summary>Lower-case UUID text and nothing else.</summary>
    public static bool IsValid([NotNullWhen(true)] string? text) =>
        text is { Length: 36 } && Guid.TryParseExact(text, "D", out var uid) && uid.ToString("D") == text;
}
