using System.Globalization;
using System.Text.RegularExpressions;
using Hypervisor.TestCluster;

namespace Hypervisor.ClusterTests.Proof;

/// <summary>
/// A process that strace stops (SIGSTOP) whenever a sync has returned to it: its thread does nothing more before the stop, and
/// neither do the others once all are stopped: one that merely waits sleeps in a call.
/// </summary>
internal sealed partial class SyncStops(Tracer tracer, int process)
{
    private readonly List<string> _files = [];
    private long _position;
    private int _told;

    /// <summary>What the syncs so far were of.</summary>
    public IReadOnlyList<string> Files => _files;

    /// <summary>Waits until the process is stopped.</summary>
    /// <returns>False when there is nothing to wait for any more.</returns>
    public async Task<bool> NextAsync(Func<bool> isWorthWaiting)
    {
        var ended = false;
        var idle = 0;
        await RealTime.UntilAsync("a sync has returned", TimeSpan.FromSeconds(60), () =>
        {
            // In this order: strace tells of a sync before it lets the stop happen.
            var worth = isWorthWaiting();
            var threads = Threads();
            var stopped = threads.Count > 0 && threads.TrueForAll(IsStopped);
            foreach (var line in tracer.NewLines(ref _position))
            {
                if (Sync().Match(line) is { Success: true } sync)
                {
                    _files.Add(sync.Groups["file"].Value);
                }
            }

            if (stopped && _files.Count > _told)
            {
                _told = _files.Count;
                return true;
            }

            // A second thread's sync of the same moment may stop the process once more, when the first stop is over.
            idle = stopped ? idle + 1 : 0;
            if (idle == 50)
            {
                idle = 0;
                Continue();
            }

            ended = !worth && !stopped;
            return ended;
        });
        return !ended;
    }

    public void Continue() => Linux.Signal(process, Linux.SignalContinue);

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
        var file = $"/proc/{process}/task/{thread}/stat";
        var status = File.Exists(file) ? File.ReadAllText(file) : ") X";
        return status[status.LastIndexOf(')') + 2] is 't' or 'T';
    }

    [GeneratedRegex(@"(?:fdatasync|fsync)\(\d+<(?<file>[^>]*)>")]
    private static partial Regex Sync();
}
