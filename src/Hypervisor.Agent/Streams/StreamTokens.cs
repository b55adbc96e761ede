using System.Security.Cryptography;
using System.Text;
using Hypervisor.Hosting.Randomness;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Streams;

/// <summary>What a token permits.</summary>
internal readonly record struct StreamPermit(InstanceId Id, Epoch Epoch, StreamKind Kind);

/// <summary>
/// Permits for one stream each: for one instance, epoch and kind, once, and for <see cref="StreamLimits.TokenLife"/>. Only their
/// digests are kept.
/// </summary>
internal sealed class StreamTokens(IRandomSource random, TimeProvider time)
{
    private readonly Lock _gate = new();
    private readonly Dictionary<string, (StreamPermit Permit, long Minted)> _tokens = new(StringComparer.Ordinal);

    /// <returns>Null when too many are out.</returns>
    public string? Mint(StreamPermit permit)
    {
        var token = random.NewSecret();
        lock (_gate)
        {
            foreach (var old in _tokens.Where(pair => IsOver(pair.Value.Minted)).Select(pair => pair.Key).ToList())
            {
                _tokens.Remove(old);
            }

            if (_tokens.Count >= StreamLimits.Tokens)
            {
                return null;
            }

            _tokens.Add(Digest(token), (permit, time.GetTimestamp()));
            return token;
        }
    }

    /// <summary>The permit, if the token is good for this kind. Whatever the answer, the token is good for nothing any more.</summary>
    public StreamPermit? Burn(string? token, StreamKind kind)
    {
        lock (_gate)
        {
            return token is { Length: > 0 } && _tokens.Remove(Digest(token), out var found) && !IsOver(found.Minted) && found.Permit.Kind == kind
                ? found.Permit
                : null;
        }
    }

    private static string Digest(string token) => Convert.ToHexString(SHA256.HashData(Encoding.UTF8.GetBytes(token)));

    private bool IsOver(long minted) => time.GetElapsedTime(minted) > StreamLimits.TokenLife;
}
