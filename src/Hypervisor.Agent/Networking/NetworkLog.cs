namespace Hypervisor.Agent.Networking;

/// <summary>What the node network tells the operator.</summary>
internal static partial class NetworkLog
{
    [LoggerMessage(LogLevel.Warning, "Rebuilt {What}: it was missing or changed.")]
    public static partial void Repaired(this ILogger logger, string what);

    [LoggerMessage(LogLevel.Warning, "Ignored {Path}: it is no record of an attachment.")]
    public static partial void UnreadableRecord(this ILogger logger, string path);

    [LoggerMessage(LogLevel.Warning, "Instance {Uid} was attached at {Address} without a record: adopted, without published ports until it is attached again.")]
    public static partial void Adopted(this ILogger logger, string uid, string address);

    [LoggerMessage(LogLevel.Error, "Instances {Uid} and {Other} both claim {Address}: the former's record is ignored.")]
    public static partial void DuplicateAddress(this ILogger logger, string uid, string other, string address);

    [LoggerMessage(LogLevel.Warning, "The tap of instance {Uid} was made anew: a machine that had the former one open has no network until its VMM is started again.")]
    public static partial void TapRemade(this ILogger logger, string uid);

    [LoggerMessage(LogLevel.Information, "DHCP server for {Bridge} started: process {Process}.")]
    public static partial void DhcpStarted(this ILogger logger, string bridge, int process);

    [LoggerMessage(LogLevel.Warning, "The DHCP server, process {Process}, has ended; it is started again.")]
    public static partial void DhcpEnded(this ILogger logger, int process);

    [LoggerMessage(LogLevel.Error, "Guests that ask for their address get no answer. {Reason}")]
    public static partial void DhcpFailed(this ILogger logger, string reason);

    [LoggerMessage(LogLevel.Error, "The kernel's notifications cannot be read; changes are found by the periodic check only: {Reason}")]
    public static partial void MonitorFailed(this ILogger logger, string reason);
}
