namespace Hypervisor.Server.Stores;

/// <summary>The write was refused before anything happened, since too many wait already. It may be repeated after <see cref="RetryAfter"/>.</summary>
internal sealed class StoreBusyException(string message, TimeSpan retryAfter) : Exception(message)
{
    public TimeSpan RetryAfter { get; } = retryAfter;
}
