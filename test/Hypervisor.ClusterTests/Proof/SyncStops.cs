using System.Globalization;
using System.Text.RegularExpressions;
using Hypervisor.TestCluster;

namespace Hypervisor.ClusterTests.Proof;

/// <summary>
/// A process that strace stops (SIGSTOP) whenever a sync has returned to it: its thread does nothing more before the stop, and
/// neither do the others once all have been seen to stop.
/// </summary>
internal sealed partial class SyncStops(Tracer tracer, int process)
{
    private readonly HashSet<int> _stopped = [];
    private readonly List<string> _files = [];
    private long _position;

    /// <summary>What the syncs so far were of.</summary>
    public IReadOnlyList<string> Files => _files;

    /// <summary>Waits until the process is stopped.</summary>
    /// <returns>False when there is nothing to wait for any more.</returns>
    public async Task<bool> NextAsync(Func<bool> isWorthWaiting)
    {
        var ended = false;
        await RealTime.UntilAsync("a sync has returned", TimeSpan.FromSeconds(60), () =>
        {
            var worth = isWorthWaiting();
            var seen = _position;
            foreach (var line in tracer.NewLines(ref _position))
            {
                if (Sync().Match(line) is { Success: true } sync)
                {
                    _files.Add(sync.Groups["file"].Value);
                }
                else if (Stop().Match(line) is { Success: true } stop)
                {
                    _stopped.Add(Number(stop.Groups["thread"].ValueSpan));
                }
            }

            if (_stopped.Count > 0)
            {
                // Under load strace may not be told twice of a thread that one stop after the other found where it was.
                return Threads().All(thread => _stopped.Contains(thread) || (seen == _position && IsStopped(thread)));
            }

            ended = !worth && seen == _position;
            return ended;
        });
        return !ended;
    }

    public void Continue()
    {
        _stopped.Clear();
        Linux.Signal(process, Linux.SignalContinue);
    }

    private List<int> Threads()
    {
        try
        {
            return [.. Directory.GetDirectories($"/proc/{process}/task").Select(path => Number(Path.GetFileName(path)))];
        }
        catch (DirectoryNotFoundException)
        {
            return [];
        }
    }

    private static int Number(ReadOnlySpan<char> text) => int.Parse(text, CultureInfo.InvariantCulture);

    private bool IsStopped(int thread)
    {
        // "pid (name) state …": the name may hold anything, also parentheses.
        var status = File.ReadAllText($"/proc/{process}/task/{thread}/stat");
        return status[status.LastIndexOf(')') + 2] is 't' or 'T';
    }

    [GeneratedRegex(@"(?:fdatasync|fsync)\(\d+<(?<file>[^>]*)>")]
    private static partial Regex Sync();

    [GeneratedRegex(@"^(?<thread>\d+) --- stopped by SIGSTOP ---")]
    private static partial Regex Stop();
}
