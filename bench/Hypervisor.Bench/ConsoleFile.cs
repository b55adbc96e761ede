using Hypervisor.TestCluster;

namespace Hypervisor.Bench;

/// <summary>What a guest wrote to its serial console.</summary>
internal static class ConsoleFile
{
    private static readonly TimeSpan _interval = TimeSpan.FromMilliseconds(1);

    /// <summary>What the entry point of a guest of <see cref="BenchGuests"/> writes; before it there may be a complaint of the kernel's.</summary>
    public const string Line = "it runs";

    /// <summary>
    /// Until the entry point has written its line. Looks every millisecond, so that both sides of a comparison are seen equally late.
    /// </summary>
    /// <exception cref="TimeoutException">No line within the time; the message has what is there.</exception>
    public static async Task HasLineAsync(string path, TimeSpan timeout)
    {
        var started = RealTime.Clock.GetTimestamp();
        while (!Text(path).Contains(Line, StringComparison.Ordinal))
        {
            if (RealTime.Clock.GetElapsedTime(started) > timeout)
            {
                throw new TimeoutException($"no line in {path} within {timeout.TotalSeconds} s: {Text(path)}");
            }

            await Task.Delay(_interval, RealTime.Clock);
        }
    }

    private static string Text(string path)
    {
        try
        {
            using var file = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
            using var reader = new StreamReader(file);
            return reader.ReadToEnd();
        }
        catch (Exception exception) when (exception is FileNotFoundException or DirectoryNotFoundException)
        {
            return "";
        }
    }
}
