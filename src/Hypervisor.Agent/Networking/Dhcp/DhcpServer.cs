namespace Hypervisor.Agent.Networking.Dhcp;

/// <summary>
/// Answers guests that ask for their address: one dnsmasq for the bridge, there as soon as there is a tap, and again when it ends.
/// Belongs to the network thread, in whose namespace it is started.
/// </summary>
/// <param name="directory">Of this agent's server alone; does not survive a reboot.</param>
/// <param name="program">A path, or a name.</param>
internal sealed class DhcpServer(string directory, string program, TimeProvider time, ILogger logger) : IDisposable
{
    private const string User = "dnsmasq";

    private readonly DhcpFiles _files = new(directory);
    private DhcpPlan? _plan;
    private DhcpProcess? _process;
    private bool _swept;
    private long _startedAt;
    private int _shortRuns;
    private (long Since, TimeSpan Wait)? _pause;

    /// <summary>For poll(2): readable once the server has ended; -1 while there is none.</summary>
    public int Descriptor => _process?.Descriptor ?? -1;

    /// <summary>Why nobody is answered, as a sentence; empty while the server runs.</summary>
    public string Problem { get; private set; } = "";

    /// <summary>Until <see cref="Keep"/> should be called although nothing has happened; null for never.</summary>
    public TimeSpan? Patience => _process is null && _pause is { } pause ? Remaining(pause) : null;

    private string Argument => "--conf-file=" + _files.Configuration;

    /// <summary>Makes the server answer as planned. What keeps it from that is logged, and told by <see cref="Problem"/>.</summary>
    public void Ensure(DhcpPlan plan)
    {
        _plan = plan;
        Keep();
    }

    /// <summary>To be called when <see cref="Descriptor"/> is readable or <see cref="Patience"/> is over.</summary>
    public void Keep()
    {
        try
        {
            Sweep();
            NoteEnd();
            if (_plan is not { } plan || (_process is null && plan.Clients.Count == 0))
            {
                return;
            }

            var configuration = plan.RenderConfiguration(UserExists() ? User : null);
            if (_process is not null && !_files.Update(configuration, plan.Clients))
            {
                Stop();
            }

            if (_process is null && (_pause is not { } pause || Remaining(pause) == TimeSpan.Zero))
            {
                Start(plan, configuration);
            }
        }
        catch (Exception failed) when (failed is IOException or UnauthorizedAccessException)
        {
            Fail($"The node's DHCP server does not run: {failed.Message.TrimEnd('.')}.");
        }
    }

    /// <summary>Ends the server, also one of an agent before this one, and removes its files.</summary>
    public void Remove()
    {
        _plan = null;
        _pause = null;
        Problem = "";
        Stop();
        _swept = false;
        Sweep();
        _files.Remove();
    }

    /// <summary>The server goes on.</summary>
    public void Dispose() => _process?.Dispose();

    /// <summary>What an agent before this one left: what it told its server nobody knows any more, and starting another costs nothing.</summary>
    private void Sweep()
    {
        if (_swept || (_plan is not { Clients.Count: > 0 } && !Directory.Exists(directory)))
        {
            return;
        }

        foreach (var left in DhcpProcess.FindAll(Argument))
        {
            using (left)
            {
                left.Stop();
            }
        }

        _files.Remove();
        _swept = true;
    }

    private void Start(DhcpPlan plan, string configuration)
    {
        if (Find() is not { } path)
        {
            // No waiting: as soon as it is installed it is used.
            Report($"The node has no DHCP server ({program}): install Debian's package dnsmasq-base.");
            return;
        }

        if (_files.FindClosedFolder() is { } closed)
        {
            Report($"The node's DHCP server, which does not run as root, could not read its files: others may not pass {closed} (chmod o+x).");
            return;
        }

        _files.WriteAll(configuration, plan.Clients);
        _process = DhcpProcess.Start(
            path, [Argument, "--dhcp-hostsdir=" + _files.Hosts, "--dhcp-optsdir=" + _files.Options, "--pid-file=" + _files.ProcessId], _files.ProcessId);
        (_startedAt, _pause, Problem) = (time.GetTimestamp(), null, "");
        logger.DhcpStarted(plan.Bridge, _process.Id);
    }

    private void NoteEnd()
    {
        if (_process is null || !_process.HasEnded)
        {
            return;
        }

        logger.DhcpEnded(_process.Id);
        _process.Dispose();
        _process = null;
        _shortRuns = time.GetElapsedTime(_startedAt) < NetworkLimits.DhcpSteadyRun ? _shortRuns + 1 : 0;
        if (_shortRuns > 1)
        {
            Pause();
        }
    }

    private void Stop()
    {
        using var process = _process;
        _process = null;
        process?.Stop();
    }

    private void Fail(string problem)
    {
        Report(problem);
        if (_process is null)
        {
            _shortRuns++;
            Pause();
        }
    }

    /// <summary>Once for each reason.</summary>
    private void Report(string problem)
    {
        if (Problem != problem)
        {
            Problem = problem;
            logger.DhcpFailed(problem);
        }
    }

    private void Pause()
    {
        var doublings = Math.Clamp(_shortRuns - 1, 0, 16);
        var wait = NetworkLimits.DhcpFirstWait * (1 << doublings);
        _pause = (time.GetTimestamp(), wait < NetworkLimits.DhcpLongestWait ? wait : NetworkLimits.DhcpLongestWait);
    }

    private TimeSpan Remaining((long Since, TimeSpan Wait) pause)
    {
        var left = pause.Wait - time.GetElapsedTime(pause.Since);
        return left > TimeSpan.Zero ? left : TimeSpan.Zero;
    }

    private string? Find()
    {
        var folders = (Environment.GetEnvironmentVariable("PATH") ?? "").Split(':', StringSplitOptions.RemoveEmptyEntries);
        return program.Contains('/', StringComparison.Ordinal)
            ? File.Exists(program) ? program : null
            : folders.Append("/usr/sbin").Select(folder => Path.Combine(folder, program)).FirstOrDefault(File.Exists);
    }

    /// <summary>Debian's package makes it; without it the program runs as nobody.</summary>
    private static bool UserExists() =>
        File.Exists("/etc/passwd") && File.ReadLines("/etc/passwd").Any(line => line.StartsWith(User + ":", StringComparison.Ordinal));
}
