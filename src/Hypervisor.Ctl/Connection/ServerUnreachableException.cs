namespace Hypervisor.Ctl.Connection;

/// <summary>The server could not be reached or did not answer in time.</summary>
internal sealed class ServerUnreachableException(string message, string server, string serverSource, Exception? inner = null)
    : Exception(message, inner)
{
    public string Server { get; } = server;

    /// <summary>Who named that address: a flag, the environment, a context or the default.</summary>
    public string ServerSource { get; } = serverSource;
}
