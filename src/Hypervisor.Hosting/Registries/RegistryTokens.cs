using System.Text.Json.Serialization;

namespace Hypervisor.Hosting.Registries;

/// <summary>The last authorization that each endpoint accepted for a repository, in memory only.</summary>
internal sealed class RegistryTokens(TimeProvider time)
{
    private readonly Lock _lock = new();
    private readonly Dictionary<(RegistryHost Host, string Repository), (string Authorization, long Until)> _known = [];

    public string? Find(RegistryHost host, string repository)
    {
        lock (_lock)
        {
            return _known.TryGetValue((host, repository), out var entry) && time.GetTimestamp() < entry.Until ? entry.Authorization : null;
        }
    }

    public void Remember(RegistryHost host, string repository, string authorization, TimeSpan life)
    {
        lock (_lock)
        {
            if (_known.Count >= RegistryLimits.RememberedTokens)
            {
                _known.Clear();
            }

            _known[(host, repository)] = (authorization, time.GetTimestamp() + (long)(life.TotalSeconds * time.TimestampFrequency));
        }
    }

    public void Forget(RegistryHost host, string repository)
    {
        lock (_lock)
        {
            _known.Remove((host, repository));
        }
    }
}

/// <summary>What a token server answers: either name is in use.</summary>
internal sealed record TokenAnswer(
    string? Token,
    [property: JsonPropertyName("access_token")] string? AccessToken,
    [property: JsonPropertyName("expires_in")] int? ExpiresIn);

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, MaxDepth = 8)]
[JsonSerializable(typeof(TokenAnswer))]
internal sealed partial class RegistryJson : JsonSerializerContext;
