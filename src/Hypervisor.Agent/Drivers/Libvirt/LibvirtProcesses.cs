using System.Collections.Concurrent;
using System.Globalization;
using Hypervisor.Agent.Guests;
using Hypervisor.Protocol;

namespace Hypervisor.Agent.Drivers.Libvirt;

/// <summary>
/// The QEMU processes behind libvirt's domains, from /proc: a machine runs as long as its process does, whether or not libvirtd answers.
/// </summary>
/// <remarks>Looking through all processes of a node takes some milliseconds, so what was found is kept and looked at first.</remarks>
internal sealed class LibvirtProcesses
{
    private const string NameOption = "-name";

    private readonly ConcurrentDictionary<string, ProcessMark> _known = new(StringComparer.Ordinal);

    /// <summary>Null when there is none.</summary>
    public ProcessMark? Find(InstanceId id)
    {
        if (_known.TryGetValue(id.Value, out var known))
        {
            if (GuestProcess.IsRunning(known, line => IsOf(id.Value, line)))
            {
                return known;
            }

            _known.TryRemove(id.Value, out _);
        }

        return Of(id) is { } mark ? _known[id.Value] = mark : null;
    }

    public void Forget(InstanceId id) => _known.TryRemove(id.Value, out _);

    /// <summary>By the id of their guests.</summary>
    public static IReadOnlyDictionary<string, ProcessMark> All()
    {
        var found = new Dictionary<string, ProcessMark>(StringComparer.Ordinal);
        var own = Namespace("self");
        foreach (var folder in Directory.EnumerateDirectories("/proc"))
        {
            if (int.TryParse(Path.GetFileName(folder), NumberStyles.None, CultureInfo.InvariantCulture, out var process)
                && GuestOf(GuestProcess.CommandLine(process)) is { } guest

                // What a container calls its processes is its own affair.
                && Namespace(Path.GetFileName(folder)) == own
                && GuestProcess.Mark(process) is { } mark)
            {
                found[guest] = mark;
            }
        }

        return found;
    }

    public static ProcessMark? Of(InstanceId id) => All().TryGetValue(id.Value, out var mark) ? mark : null;

    public static bool IsOf(string uid, IReadOnlyList<string> commandLine) => GuestOf(commandLine) == uid;

    /// <summary>libvirt writes "-name guest=NAME,debug-threads=on".</summary>
    internal static string? GuestOf(IReadOnlyList<string> commandLine)
    {
        const string Start = $"guest={DomainXml.NamePrefix}";
        for (var index = 0; index + 1 < commandLine.Count; index++)
        {
            if (commandLine[index] == NameOption && commandLine[index + 1].StartsWith(Start, StringComparison.Ordinal))
            {
                var name = commandLine[index + 1][Start.Length..];
                var end = name.IndexOf(',', StringComparison.Ordinal);
                return end < 0 ? name : name[..end];
            }
        }

        return null;
    }

    private static string? Namespace(string process)
    {
        try
        {
            return File.ResolveLinkTarget($"/proc/{process}/ns/pid", returnFinalTarget: false)?.Name;
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }
}
