namespace Hypervisor.Hosting.Registries;

/// <summary>Why a registry did not give what was asked of it.</summary>
internal enum RegistryFailure
{
    /// <summary>It has no such image or blob.</summary>
    NotFound,

    /// <summary>It wants other credentials, or any.</summary>
    Unauthorized,

    /// <summary>It is asked too often.</summary>
    RateLimited,

    /// <summary>It is down, cuts connections, or answers that it cannot.</summary>
    Unavailable,

    /// <summary>Its certificate is not to be trusted.</summary>
    Untrusted,

    /// <summary>It answers something else than it should.</summary>
    Invalid,

    /// <summary>We do not call it: its address is private and nobody who may has named it.</summary>
    Refused,
}

/// <summary>The message names registry, what was asked, and the remedy where one is known; never a credential.</summary>
internal sealed class RegistryException(RegistryFailure failure, string message, Exception? inner = null) : Exception(message, inner)
{
    public RegistryFailure Failure => failure;

    /// <summary>What it asked us to wait.</summary>
    public TimeSpan? RetryAfter { get; init; }

    /// <summary>The same question may be answered in a moment.</summary>
    public bool IsTransient => failure is RegistryFailure.Unavailable or RegistryFailure.RateLimited;
}
