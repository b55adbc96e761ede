using System.Runtime.InteropServices;
using System.Text;
using System.Text.RegularExpressions;
using Google.Protobuf.WellKnownTypes;
using Hypervisor.Agent.Drivers.Libvirt.Interop;
using Hypervisor.Agent.Guests;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Drivers.Libvirt;

/// <param name="PoweredOff">It ended by itself, as the guest wished.</param>
/// <param name="NoRoom">QEMU stopped it, for a disk of it could not grow.</param>
internal sealed record DomainState(string Uid, VmmState State, bool PoweredOff, bool NoRoom = false);

/// <summary>What libvirt tells of domains. To be called on a thread that may block.</summary>
internal static unsafe partial class LibvirtDomains
{
    private const int UuidBuffer = 37;

    // virDomainState.
    private const int Running = 1;
    private const int Blocked = 2;
    private const int Paused = 3;
    private const int ShuttingDown = 4;
    private const int PowerManaged = 7;

    /// <summary>virDomainShutoffReason: VIR_DOMAIN_SHUTOFF_SHUTDOWN.</summary>
    private const int AsTheGuestWished = 1;

    /// <summary>virDomainPausedReason: VIR_DOMAIN_PAUSED_IOERROR. Of errors of disks QEMU stops a guest for a full one alone.</summary>
    private const int ForADisk = 5;

    /// <summary>VIR_TYPED_PARAM_STRING.</summary>
    private const int StringType = 7;

    /// <summary>VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT.</summary>
    private const uint WithoutWaiting = 1 << 29;

    /// <summary>VIR_DOMAIN_METADATA_ELEMENT.</summary>
    private const int MetadataElement = 2;

    /// <summary>STATE, CPU_TOTAL, BALLOON, INTERFACE and BLOCK of virDomainStatsTypes.</summary>
    private const uint Groups = 1 | 2 | 4 | 16 | 32;

    /// <summary>Only ours, running or not.</summary>
    public static IReadOnlyList<DomainState> List(ConnectionHandle connection)
    {
        nint* domains;
        var count = NativeMethods.ConnectListAllDomains(connection, &domains, 0);
        if (count < 0)
        {
            throw LibvirtException.OfThisThread();
        }

        var found = new List<DomainState>();
        try
        {
            for (var index = 0; index < count; index++)
            {
                using var domain = new DomainHandle(domains[index]);
                if (UidOf(domain) is { } uid && HasOurMetadata(domain) && StateOf(domain, uid) is { } state)
                {
                    found.Add(state);
                }
            }
        }
        finally
        {
            NativeMethods.Free(domains);
        }

        return found;
    }

    /// <summary>Null when there is none of ours.</summary>
    public static DomainState? Find(ConnectionHandle connection, string uid)
    {
        using var domain = Lookup(connection, uid);
        return domain is not null && HasOurMetadata(domain) ? StateOf(domain, uid) : null;
    }

    /// <summary>Null when there is none, or it is somebody else's.</summary>
    public static DomainHandle? Lookup(ConnectionHandle connection, string uid)
    {
        var domain = NativeMethods.DomainLookup(connection, uid);
        if (domain.IsInvalid)
        {
            return LibvirtException.OfThisThread() is { NoDomain: false } refusal ? throw refusal : null;
        }

        if (UidOf(domain) == uid)
        {
            return domain;
        }

        domain.Dispose();
        return null;
    }

    /// <summary>False as well when it went away.</summary>
    public static bool IsRunning(DomainHandle domain)
    {
        int state, reason;
        return NativeMethods.DomainGetState(domain, &state, &reason, 0) == 0 && state is (Running or Blocked);
    }

    public static InstanceStats Measure(DomainHandle domain, DateTimeOffset now)
    {
        var stats = new InstanceStats { SampledAt = Timestamp.FromDateTimeOffset(now), Block = new BlockStats() };
        var parameters = Statistics(domain);
        foreach (var (name, value, text) in parameters)
        {
            if (value is { } number)
            {
                Add(stats, name, number);
            }
            else if (InterfaceName().IsMatch(name) && TapCounters.Read(text) is { } counters)
            {
                // libvirt counts on the host's side of a tap that it does not manage: what the guest sends is received there.
                stats.Network = counters;
            }
        }

        if (BalloonReport.Used(stats.MemoryLimitBytes, NumberOf("balloon.usable") << 10, NumberOf("balloon.last-update"), now) is { } used)
        {
            stats.MemoryBytes = used;
        }

        return stats;

        // libvirt leaves out what the guest does not tell.
        long NumberOf(string wanted) => parameters.Find(parameter => parameter.Name == wanted).Number ?? -1;
    }

    /// <summary>What its definition calls its disks.</summary>
    public static IReadOnlyList<string> Targets(DomainHandle domain) =>
        [.. Statistics(domain).Where(parameter => BlockName().IsMatch(parameter.Name)).Select(parameter => parameter.Text)];

    [GeneratedRegex(@"^block\.[0-9]+\.name$")]
    private static partial Regex BlockName();

    [GeneratedRegex(@"^net\.[0-9]+\.name$")]
    private static partial Regex InterfaceName();

    /// <summary>Of a QEMU that does not answer, only what libvirtd knows by itself.</summary>
    private static List<(string Name, long? Number, string Text)> Statistics(DomainHandle domain)
    {
        var list = stackalloc nint[] { domain.DangerousGetHandle(), 0 };
        StatsRecord** records;
        if (NativeMethods.DomainListGetStats(list, Groups, &records, WithoutWaiting) < 0)
        {
            throw LibvirtException.OfThisThread();
        }

        var parameters = new List<(string, long?, string)>();
        try
        {
            for (var record = records; *record is not null; record++)
            {
                for (var index = 0; index < (*record)->Count; index++)
                {
                    var parameter = (*record)->Parameters[index];
                    var text = parameter.Type == StringType ? Marshal.PtrToStringUTF8((nint)parameter.Value) : null;
                    parameters.Add((parameter.Text(), parameter.Number, text ?? ""));
                }
            }
        }
        finally
        {
            NativeMethods.StatsRecordListFree(records);
        }

        return parameters;
    }

    /// <summary>Numbers are summed over devices: "block.0.rd.bytes", "block.1.rd.bytes". Sizes are in KiB, times in nanoseconds.</summary>
    private static void Add(InstanceStats stats, string name, long number)
    {
        switch (name)
        {
            case "cpu.time":
                stats.CpuTime = Duration.FromTimeSpan(TimeSpan.FromTicks(number / TimeSpan.NanosecondsPerTick));
                break;
            case "balloon.maximum":
                stats.MemoryLimitBytes = number << 10;
                break;
            case "balloon.rss":
                stats.MemoryBytes = number << 10;
                break;
            case var _ when name.StartsWith("block.", StringComparison.Ordinal) && name.EndsWith(".rd.bytes", StringComparison.Ordinal):
                stats.Block.ReadBytes += number;
                break;
            case var _ when name.StartsWith("block.", StringComparison.Ordinal) && name.EndsWith(".wr.bytes", StringComparison.Ordinal):
                stats.Block.WrittenBytes += number;
                break;
        }
    }

    /// <summary>Null for a domain of somebody else: its name is not made of its UUID as ours are.</summary>
    private static string? UidOf(DomainHandle domain)
    {
        var buffer = stackalloc byte[UuidBuffer];
        if (NativeMethods.DomainGetUuid(domain.DangerousGetHandle(), buffer) < 0)
        {
            throw LibvirtException.OfThisThread();
        }

        var uid = Encoding.ASCII.GetString(buffer, UuidBuffer - 1);
        return Marshal.PtrToStringUTF8(NativeMethods.DomainGetName(domain.DangerousGetHandle())) == DomainXml.NameOf(uid) ? uid : null;
    }

    /// <summary>False as well for one that went away meanwhile.</summary>
    private static bool HasOurMetadata(DomainHandle domain)
    {
        var text = NativeMethods.DomainGetMetadata(domain, MetadataElement, DomainXml.Namespace, 0);
        if (text is null)
        {
            return LibvirtException.OfThisThread() is { NoDomain: false, NoMetadata: false } refusal ? throw refusal : false;
        }

        NativeMethods.Free(text);
        return true;
    }

    /// <summary>Null when it went away meanwhile.</summary>
    private static DomainState? StateOf(DomainHandle domain, string uid)
    {
        int state, reason;
        if (NativeMethods.DomainGetState(domain, &state, &reason, 0) < 0)
        {
            return LibvirtException.OfThisThread() is { NoDomain: false } refusal ? throw refusal : null;
        }

        return state switch
        {
            Running or Blocked or ShuttingDown => new DomainState(uid, VmmState.Running, PoweredOff: false),
            Paused or PowerManaged => new DomainState(uid, VmmState.Paused, PoweredOff: false, NoRoom: state == Paused && reason == ForADisk),
            _ => new DomainState(uid, VmmState.Stopped, PoweredOff: reason == AsTheGuestWished),
        };
    }
}
