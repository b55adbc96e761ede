namespace Hypervisor.Bench;

/// <summary>What was asked for cannot be done; the message names option or line, value and remedy.</summary>
internal sealed class BadUsageException(string message) : Exception(message);
