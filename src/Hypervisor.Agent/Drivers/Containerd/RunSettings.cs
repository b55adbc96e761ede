using System.Globalization;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Drivers.Containerd;

/// <summary>How the main process is connected, and how much of its output is kept, as one label.</summary>
/// <param name="LogBytes">Of one log file; 0 means the node's setting, as does 0 for <paramref name="LogFiles"/>.</param>
internal sealed record RunSettings(bool Stdin, bool Terminal, long LogBytes, int LogFiles)
{
    public static RunSettings None { get; } = new(false, false, 0, 0);

    public LogSpec Logs => new() { MaxSizeBytes = LogBytes, MaxFiles = LogFiles };

    public static RunSettings Of(InstanceSpec spec) => new(
        spec.Process?.Stdin ?? false, spec.Process?.Terminal ?? false, spec.Logs?.MaxSizeBytes ?? 0, spec.Logs?.MaxFiles ?? 0);

    public static RunSettings Parse(string text) =>
        text.Split(' ') is [var stdin, var terminal, var bytes, var files]
        && long.TryParse(bytes, NumberStyles.None, CultureInfo.InvariantCulture, out var logBytes)
        && int.TryParse(files, NumberStyles.None, CultureInfo.InvariantCulture, out var logFiles)
            ? new RunSettings(stdin == "stdin", terminal == "terminal", logBytes, logFiles)
            : None;

    public override string ToString() =>
        string.Create(CultureInfo.InvariantCulture, $"{(Stdin ? "stdin" : "-")} {(Terminal ? "terminal" : "-")} {LogBytes} {LogFiles}");
}
