namespace Hypervisor.Server;

/// <summary>The server cannot start; the message is one line that says what is wrong and what to do.</summary>
internal sealed class StartupException(string message, Exception? inner = null) : Exception(message, inner);
