namespace Hypervisor.Hosting.Registries;

/// <summary>Every bound of the registry client, with its reason.</summary>
internal static class RegistryLimits
{
    /// <summary>Manifests, indices and configurations: registries refuse manifests above 4 MiB.</summary>
    public const int DocumentBytes = 4 << 20;

    /// <summary>A token and its dates; the largest in the wild hold some KiB of claims.</summary>
    public const int TokenBytes = 64 << 10;

    /// <summary>Realm, service and scope.</summary>
    public const int ChallengeCharacters = 4096;

    /// <summary>One read of a blob: what containerd takes as one message at the control plane's size.</summary>
    public const int PieceBytes = 1 << 20;

    /// <summary>A registry refers to its storage, that to a region, that to an edge.</summary>
    public const int Redirects = 5;

    /// <summary>Tries without any progress before the registry counts as down.</summary>
    public const int Attempts = 4;

    /// <summary>Tries of a mirror: another endpoint comes after it.</summary>
    public const int MirrorAttempts = 1;

    /// <summary>Tries of one blob that each brought something: a transfer cut so often is worse than none.</summary>
    public const int Interruptions = 50;

    /// <summary>Repositories whose tokens are remembered; a miss costs one round trip more.</summary>
    public const int RememberedTokens = 256;

    /// <summary>Connections to one host: layers fetched at once, of several images.</summary>
    public const int ConnectionsPerHost = 16;

    /// <summary>Over one ocean and back, TLS included, many times over.</summary>
    public static readonly TimeSpan Connect = TimeSpan.FromSeconds(10);

    /// <summary>A registry that answers nothing, or sends nothing more, for so long is dead.</summary>
    public static readonly TimeSpan Stall = TimeSpan.FromSeconds(30);

    /// <summary>A whole manifest, configuration or token, however slowly it trickles.</summary>
    public static readonly TimeSpan Document = TimeSpan.FromSeconds(30);

    public static readonly TimeSpan BackoffMinimum = TimeSpan.FromMilliseconds(200);

    public static readonly TimeSpan BackoffMaximum = TimeSpan.FromSeconds(5);

    /// <summary>A registry that wants to be left alone for longer is told of to the user instead.</summary>
    public static readonly TimeSpan LongestWait = TimeSpan.FromSeconds(15);

    /// <summary>Token specification: what holds when the server says nothing.</summary>
    public static readonly TimeSpan TokenLife = TimeSpan.FromSeconds(60);

    /// <summary>A token that ends while the request travels is no use.</summary>
    public static readonly TimeSpan TokenMargin = TimeSpan.FromSeconds(10);
}
