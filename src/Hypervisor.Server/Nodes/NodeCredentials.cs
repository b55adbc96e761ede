using System.Security.Cryptography;
using System.Text;

namespace Hypervisor.Server.Nodes;

/// <summary>Comparison of the secrets that RegisterNode issues.</summary>
internal static class NodeCredentials
{
    /// <summary>
    /// Takes equally long whatever differs, also where nothing was issued: both sides are hashed first, so that lengths do
    /// not show either. An empty presented secret never matches.
    /// </summary>
    /// <param name="issued">Null when no such node exists.</param>
    public static bool Match(string? issued, string? presented)
    {
        Span<byte> left = stackalloc byte[SHA256.HashSizeInBytes];
        Span<byte> right = stackalloc byte[SHA256.HashSizeInBytes];
        SHA256.HashData(Encoding.UTF8.GetBytes(issued ?? ""), left);
        SHA256.HashData(Encoding.UTF8.GetBytes(presented ?? ""), right);
        var equal = CryptographicOperations.FixedTimeEquals(left, right);
        return equal & !string.IsNullOrEmpty(issued) & !string.IsNullOrEmpty(presented);
    }
}
