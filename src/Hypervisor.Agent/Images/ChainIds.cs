using System.Buffers;
using System.Security.Cryptography;
using System.Text;

namespace Hypervisor.Agent.Images;

/// <summary>Names of stacked layers, as the OCI image specification defines them ("Layer ChainID").</summary>
internal static class ChainIds
{
    private static readonly SearchValues<char> HexDigits = SearchValues.Create("0123456789abcdef");

    /// <summary>The chain id of each layer over those below it; the last one names the whole stack.</summary>
    public static IReadOnlyList<string> Of(IReadOnlyList<string> diffIds)
    {
        var chain = new string[diffIds.Count];
        for (var index = 0; index < chain.Length; index++)
        {
            chain[index] = index == 0 ? diffIds[0] : Digest(Encoding.ASCII.GetBytes($"{chain[index - 1]} {diffIds[index]}"));
        }

        return chain;
    }

    public static string Digest(ReadOnlySpan<byte> content) => "sha256:" + Convert.ToHexStringLower(SHA256.HashData(content));

    /// <summary>Exactly "sha256:" and 64 lower-case hexadecimal digits; nothing else ever becomes part of a key or path.</summary>
    public static bool IsDigest(string? text) =>
        text is { Length: 71 }
        && text.StartsWith("sha256:", StringComparison.Ordinal)
        && text.AsSpan(7).IndexOfAnyExcept(HexDigits) < 0;
}
