namespace Hypervisor.Hosting.Configuration;

/// <summary>How log messages are written.</summary>
public enum LogStyle
{
    /// <summary>One line for people, or for systemd's journal.</summary>
    Text,

    /// <summary>One JSON object per line, with the message's parts and the trace it belongs to.</summary>
    Json,
}
