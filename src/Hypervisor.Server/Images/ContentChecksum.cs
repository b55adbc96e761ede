using System.Runtime.CompilerServices;
using System.Security.Cryptography;
using Hypervisor.Hosting.Yaml;

namespace Hypervisor.Server.Images;

/// <summary>What a user says that a file is.</summary>
/// <param name="Hex">Lower case.</param>
internal sealed record ContentChecksum(HashAlgorithmName Algorithm, string Hex)
{
    public const string Rule = "write sha256: and 64 hexadecimal digits, or sha512: and 128";

    public static bool TryParse(string text, out ContentChecksum checksum)
    {
        var colon = text.IndexOf(':');
        var algorithm = colon < 0 ? default : text[..colon] switch
        {
            "sha256" => HashAlgorithmName.SHA256,
            "sha512" => HashAlgorithmName.SHA512,
            _ => default,
        };
        var hex = text[(colon + 1)..];
        checksum = new(algorithm, hex.ToLowerInvariant());
        return algorithm.Name is not null && hex.Length == LengthOf(algorithm) && hex.All(char.IsAsciiHexDigit);
    }

    /// <summary>Digits of a checksum; decides which algorithm a bare one is of.</summary>
    public static int LengthOf(HashAlgorithmName algorithm) => algorithm == HashAlgorithmName.SHA512 ? 128 : 64;

    public override string ToString() => $"{Algorithm.Name!.ToLowerInvariant()}:{Hex}";
}

/// <summary>Hashes pieces on their way, and says at the end whether they were what was promised.</summary>
internal sealed class CheckedPieces(IAsyncEnumerable<ReadOnlyMemory<byte>> pieces, ContentChecksum? promised) : IDisposable
{
    private readonly IncrementalHash? _hash = promised is null ? null : IncrementalHash.CreateHash(promised.Algorithm);
    private bool _ended;

    /// <summary>Once, and to its end.</summary>
    public async IAsyncEnumerable<ReadOnlyMemory<byte>> ReadAsync([EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        await foreach (var piece in pieces.WithCancellation(cancellationToken))
        {
            _hash?.AppendData(piece.Span);
            yield return piece;
        }

        _ended = true;
        Verify();
    }

    public void Dispose() => _hash?.Dispose();

    /// <summary>For whoever keeps what came: all of it was looked at.</summary>
    /// <exception cref="InvalidOperationException">The reader did not read to the end, where the checksum is compared.</exception>
    public void RequireVerified()
    {
        if (promised is not null && !_ended)
        {
            throw new InvalidOperationException("An import ended before its last byte.");
        }
    }

    private void Verify()
    {
        if (promised is not null && Convert.ToHexStringLower(_hash!.GetHashAndReset()) is var found && found != promised.Hex)
        {
            throw new InvalidImageException(
                $"What arrived has the checksum {DisplayText.Of(new ContentChecksum(promised.Algorithm, found).ToString())}, not {promised}: it is damaged, or another file. Nothing of it is kept.");
        }
    }
}
