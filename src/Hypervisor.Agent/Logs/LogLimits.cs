using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Logs;

/// <summary>How much of an instance's output is kept.</summary>
/// <param name="SizeBytes">Of one file.</param>
/// <param name="Files">The oldest goes when one more is begun.</param>
internal readonly record struct LogLimits(long SizeBytes, int Files)
{
    public const long SmallestSize = 64 * 1024;
    public const long LargestSize = 1L << 30;
    public const int FewestFiles = 2;
    public const int MostFiles = 100;

    public static LogLimits Default { get; } = new(16L << 20, 5);

    /// <summary>Of both streams of a run, before it is taken in: beyond what would be kept there is nothing to gain.</summary>
    public long Backlog => SizeBytes * Files;

    /// <summary>What an instance asks for, else this.</summary>
    public LogLimits With(LogSpec? asked) => new(
        asked is { MaxSizeBytes: > 0 } ? Math.Clamp(asked.MaxSizeBytes, SmallestSize, LargestSize) : SizeBytes,
        asked is { MaxFiles: > 0 } ? Math.Clamp(asked.MaxFiles, FewestFiles, MostFiles) : Files);
}
