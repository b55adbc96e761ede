using System.ComponentModel;
using System.Diagnostics;
using System.Globalization;
using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Native;

namespace Hypervisor.Agent.Guests;

/// <summary>How a VMM's process is told from any other, also from one that got its number later.</summary>
/// <param name="StartTicks">Field 22 of /proc/pid/stat: since boot, in hundredths of a second.</param>
internal readonly record struct ProcessMark(int Id, long StartTicks);

/// <param name="Program">Absolute, or looked for in <see cref="GuestProcess.SearchPath"/>.</param>
/// <param name="Input">A named pipe or file that becomes its standard input; opened for both directions, so that it never ends.</param>
/// <param name="Output">A file that its standard output is appended to; likewise <paramref name="Error"/>.</param>
/// <param name="Group">Of <see cref="GuestCgroups.Make"/>: the control group that it runs in; null for the agent's own.</param>
/// <param name="Tunables">What the C library is told for it (GLIBC_TUNABLES); empty for nothing.</param>
internal sealed record GuestCommand(
    string Program, IReadOnlyList<string> Arguments, string WorkingDirectory, string Input, string Output, string Error, string? Group = null, string Tunables = "");

/// <summary>What /proc tells of a process.</summary>
/// <param name="CpuTime">Of all its threads.</param>
internal readonly record struct ProcessUse(TimeSpan CpuTime, long ResidentBytes, int Threads);

/// <summary>Processes of VMMs: they outlive the agent, are recognised by a later one, and are ended without hitting another.</summary>
/// <remarks>
/// A process is ours when its number, its start time and its command line are those that were recorded. Number and start time alone
/// would do on one boot; the command line is for a record that is wrong. What a process says of itself is never enough: a container
/// may call its processes as it likes.
/// </remarks>
internal static class GuestProcess
{
    /// <summary>All that a VMM gets to know of the agent's environment, which may hold secrets.</summary>
    public const string SearchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

    private const long TicksPerSecond = 100;

    // The child waits to be recorded: when the agent dies before it has done so, the pipe ends, and so does the child. Nothing runs
    // that nobody knows of. exec keeps the number, and setsid does not fork for a child that leads no group.
    // Into its control group it goes by itself: to move another process the kernel takes some ten milliseconds.
    private const string Wait =
        """read -r go && in=$1 group=$4 && exec >> "$2" 2>> "$3" && { [ -z "$group" ] || echo 0 > "$group"; } && shift 4 && exec "$@" <> "$in" """;

    /// <param name="record">Called before the program runs: makes the mark durable.</param>
    /// <exception cref="DriverException">The process cannot be made.</exception>
    public static async Task<ProcessMark> StartAsync(GuestCommand command, Action<ProcessMark> record)
    {
        var start = new ProcessStartInfo("/usr/bin/setsid") { RedirectStandardInput = true, WorkingDirectory = command.WorkingDirectory };
        foreach (var argument in (string[])["/bin/sh", "-c", Wait, "vmm", command.Input, command.Output, command.Error, command.Group ?? "", command.Program, .. command.Arguments])
        {
            start.ArgumentList.Add(argument);
        }

        start.Environment.Clear();
        start.Environment["PATH"] = SearchPath;
        start.Environment["LANG"] = "C.UTF-8";
        if (command.Tunables.Length > 0)
        {
            start.Environment["GLIBC_TUNABLES"] = command.Tunables;
        }

        try
        {
            using var process = Process.Start(start) ?? throw new Win32Exception();
            var mark = Mark(process.Id) ?? throw new DriverException(
                GuestLimits.VmmFailed, $"the process of {command.Program} ended at once", permanent: false);
            record(mark);
            MayBeKilled(mark.Id);
            await process.StandardInput.WriteAsync("go\n");
            process.StandardInput.Close();
            return mark;
        }
        catch (Exception error) when (error is Win32Exception or IOException)
        {
            throw new DriverException(
                GuestLimits.VmmFailed, $"a process for {command.Program} cannot be started: {error.Message}", permanent: false, error);
        }
    }

    /// <summary>Null when there is no such process, or it has ended and waits for its parent only.</summary>
    public static ProcessMark? Mark(int processId) => Fields(processId) is { } fields && fields[0] is not ("Z" or "X")
        ? new ProcessMark(processId, long.Parse(fields[19], CultureInfo.InvariantCulture))
        : null;

    /// <param name="isOurs">Looks at the command line.</param>
    /// <remarks>In the middle of execve(2), and at its very end, a process has no command line for a moment: then its mark alone tells.</remarks>
    public static bool IsRunning(ProcessMark mark, Predicate<IReadOnlyList<string>> isOurs) =>
        Mark(mark.Id) == mark && CommandLine(mark.Id) is var line && (line.Count == 0 || isOurs(line)) && Mark(mark.Id) == mark;

    /// <summary>Empty for a process that is gone.</summary>
    public static IReadOnlyList<string> CommandLine(int processId) =>
        Read(processId, "cmdline") is { Length: > 0 } text ? text.TrimEnd('\0').Split('\0') : [];

    public static DateTimeOffset StartedAt(ProcessMark mark, TimeProvider time) =>
        time.GetUtcNow() - (BootTime.Now - TimeSpan.FromSeconds((double)mark.StartTicks / TicksPerSecond));

    /// <summary>Null when it is gone.</summary>
    public static ProcessUse? Measure(ProcessMark mark) =>
        Mark(mark.Id) == mark && Fields(mark.Id) is { } fields
            ? new ProcessUse(
                TimeSpan.FromSeconds((double)(Number(fields[11]) + Number(fields[12])) / TicksPerSecond),
                Number(fields[21]) * Environment.SystemPageSize,
                (int)Number(fields[17]))
            : null;

    /// <summary>What it had read from and written to storage; null when the kernel does not count it, or it is gone.</summary>
    public static (long ReadBytes, long WrittenBytes)? Storage(ProcessMark mark)
    {
        if (Mark(mark.Id) != mark || Read(mark.Id, "io") is not { } text)
        {
            return null;
        }

        var lines = text.Split('\n');
        return (Of("read_bytes: "), Of("write_bytes: "));

        long Of(string name) => lines.FirstOrDefault(line => line.StartsWith(name, StringComparison.Ordinal)) is { } line ? Number(line[name.Length..]) : 0;
    }

    /// <summary>SIGKILL, and waits for the end. Nothing when it is gone or no longer ours.</summary>
    /// <exception cref="DriverException">ProcessUnkillable.</exception>
    public static async Task KillAsync(
        ProcessMark mark, Predicate<IReadOnlyList<string>> isOurs, TimeProvider time, CancellationToken cancellationToken)
    {
        // Opened first, looked at afterwards: what is looked at is what is killed.
        using var process = ProcessHandle.Open(mark.Id);
        if (process is null || !IsRunning(mark, isOurs))
        {
            return;
        }

        process.Kill();
        using var deadline = new CancellationTokenSource(GuestLimits.Kill, time);
        while (!process.HasEnded)
        {
            if (deadline.IsCancellationRequested)
            {
                throw new DriverException(
                    "ProcessUnkillable", $"process {mark.Id} does not end although it was killed; look at its state in /proc", permanent: false);
            }

            await Task.Delay(GuestLimits.KillPoll, time, cancellationToken);
        }
    }

    /// <summary>The agent is spared when memory runs out (OOMScoreAdjust); its children inherit that, and guests should not.</summary>
    private static void MayBeKilled(int processId)
    {
        var path = string.Create(CultureInfo.InvariantCulture, $"/proc/{processId}/oom_score_adj");
        if (File.ReadAllText(path).StartsWith('-'))
        {
            File.WriteAllText(path, "0");
        }
    }

    /// <summary>From the third field of /proc/pid/stat on: the second may hold anything, parentheses and spaces too.</summary>
    private static string[]? Fields(int processId) =>
        Read(processId, "stat") is { } text && text.LastIndexOf(')') is > 0 and var end ? text[(end + 2)..].TrimEnd().Split(' ') : null;

    private static long Number(string text) => long.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var number) ? number : 0;

    private static string? Read(int processId, string file)
    {
        try
        {
            return File.ReadAllText(string.Create(CultureInfo.InvariantCulture, $"/proc/{processId}/{file}"));
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            // It ended (ESRCH, ENOENT), or is not ours to look at.
            return null;
        }
    }
}
