using System.ComponentModel;
using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using Hypervisor.Agent.Networking.Interop;
using Microsoft.Win32.SafeHandles;

namespace Hypervisor.Agent.Networking.Dhcp;

/// <summary>
/// A running dnsmasq, held by a handle (pidfd): what was recognised by its command line is what is signalled, whatever becomes of its number.
/// It runs in a session of its own and outlives the agent.
/// </summary>
internal sealed unsafe class DhcpProcess : IDisposable
{
    private const int Terminate = 15;
    private const int Kill = 9;

    private readonly SafeFileHandle _handle;

    private DhcpProcess(int id, SafeFileHandle handle) => (Id, _handle) = (id, handle);

    public int Id { get; }

    /// <summary>For poll(2): readable once it has ended.</summary>
    public int Descriptor => (int)_handle.DangerousGetHandle();

    public bool HasEnded => EndsWithin(TimeSpan.Zero);

    /// <summary>Starts the program in the network namespace of the calling thread; answers when it serves.</summary>
    /// <param name="arguments">The first one is like no other process's.</param>
    /// <param name="pidFile">Where the program is told to write its number.</param>
    /// <exception cref="IOException">It could not be started, in its own words.</exception>
    public static DhcpProcess Start(string program, IReadOnlyList<string> arguments, string pidFile)
    {
        try
        {
            // It leaves for the background once it serves, and reports through its exit code: dnsmasq(8), EXIT CODES.
            using var starter = Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardError = true, WorkingDirectory = "/" })!;
            var complaint = starter.StandardError.ReadToEndAsync();
            if (!starter.WaitForExit(NetworkLimits.DhcpStartDeadline))
            {
                starter.Kill();
                throw new IOException($"it did not start within {NetworkLimits.DhcpStartDeadline.TotalSeconds:0} s");
            }

            if (starter.ExitCode != 0)
            {
                var words = complaint.Wait(NetworkLimits.DhcpStartDeadline) ? complaint.Result.Trim().ReplaceLineEndings(" ") : "";
                throw new IOException(string.Create(CultureInfo.InvariantCulture, $"it ended with exit code {starter.ExitCode}: {words}"));
            }
        }
        catch (Win32Exception failed)
        {
            throw new IOException(failed.Message, failed);
        }

        return int.TryParse(File.ReadAllText(pidFile), CultureInfo.InvariantCulture, out var id) && Recognise(id, arguments[0]) is { } process
            ? process
            : throw new IOException("it ended at once");
    }

    /// <summary>Every process with this argument: those that an agent before this one started.</summary>
    public static IReadOnlyList<DhcpProcess> FindAll(string argument)
    {
        var found = new List<DhcpProcess>();
        foreach (var directory in Directory.EnumerateDirectories("/proc"))
        {
            if (int.TryParse(Path.GetFileName(directory), CultureInfo.InvariantCulture, out var id)
                && HasArgument(id, argument) && Recognise(id, argument) is { } process)
            {
                found.Add(process);
            }
        }

        return found;
    }

    /// <summary>Ends it, by force if it takes its time; it is gone when this returns.</summary>
    public void Stop()
    {
        Signal(Terminate);
        if (!EndsWithin(NetworkLimits.DhcpStopDeadline))
        {
            Signal(Kill);
            if (!EndsWithin(NetworkLimits.DhcpStopDeadline))
            {
                throw new IOException(string.Create(CultureInfo.InvariantCulture, $"the DHCP server, process {Id}, could not be killed"));
            }
        }
    }

    /// <summary>It goes on.</summary>
    public void Dispose() => _handle.Dispose();

    private static DhcpProcess? Recognise(int id, string argument)
    {
        var descriptor = Libc.SystemCall(Libc.PidFdOpen, id, 0, 0, 0);
        if (descriptor < 0)
        {
            return Marshal.GetLastPInvokeError() == Errno.NoSuchProcess ? null : throw Errno.Last("cannot open a handle on a process");
        }

        var process = new DhcpProcess(id, new SafeFileHandle((nint)descriptor, ownsHandle: true));
        if (HasArgument(id, argument) && !process.HasEnded)
        {
            return process;
        }

        process.Dispose();
        return null;
    }

    private static bool HasArgument(int id, string argument)
    {
        try
        {
            return File.ReadAllText(string.Create(CultureInfo.InvariantCulture, $"/proc/{id}/cmdline")).Split('\0').Contains(argument, StringComparer.Ordinal);
        }
        catch (Exception gone) when (gone is IOException or UnauthorizedAccessException)
        {
            return false;
        }
    }

    private bool EndsWithin(TimeSpan patience)
    {
        var entry = new PollEntry { Descriptor = Descriptor, Events = Libc.PollIn };
        return Libc.Poll(&entry, 1, (int)patience.TotalMilliseconds) > 0;
    }

    private void Signal(int number) => Libc.SystemCall(Libc.PidFdSendSignal, Descriptor, number, 0, 0);
}
