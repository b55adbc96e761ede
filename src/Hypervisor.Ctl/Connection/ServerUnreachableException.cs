namespace Hypervisor.Ctl.Connection;

/// <summary>The server could not be reached, did not answer in time, or is waiting for something itself.</summary>
internal sealed class ServerUnreachableException(string message, string server, string serverSource, Exception? inner = null)
    : Exception(message, inner)
{
    /// <summary>It was reached; the message is its own.</summary>
    public bool Answered { get; init; }

    public string Server { get; } = server;

    /// <summary>Who named that address: a flag, the environment, a context or the default.</summary>
    public string ServerSource { get; } = serverSource;
}
