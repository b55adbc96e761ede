using System.Runtime.InteropServices;
using System.Text;
using System.Text.RegularExpressions;
using Google.Protobuf.WellKnownTypes;
using Hypervisor.Agent.Drivers.Libvirt.Interop;
using Hypervisor.Agent.Guests;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Drivers.Libvirt;

/// <param name="PoweredOff">It ended by itself, as the guest wished.</param>
internal sealed record DomainState(string Uid, VmmState State, bool PoweredOff);

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

    /// <summary>VIR_TYPED_PARAM_STRING.</summary>
    private const int StringType = 7;

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
                if (found.Count < LibvirtLimits.Domains && UidOf(domains[index]) is { } uid && StateOf(domain, uid) is { } state)
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
        using var domain = NativeMethods.DomainLookup(connection, uid);
        return !domain.IsInvalid ? StateOf(domain, uid)
            : LibvirtException.OfThisThread() is { NoDomain: false } refusal ? throw refusal : null;
    }

    public static InstanceStats Measure(DomainHandle domain, DateTimeOffset now)
    {
        var stats = new InstanceStats { SampledAt = Timestamp.FromDateTimeOffset(now), Network = new NetworkStats(), Block = new BlockStats() };
        var list = stackalloc nint[] { domain.DangerousGetHandle(), 0 };
        StatsRecord** records;
        if (NativeMethods.DomainListGetStats(list, Groups, &records, 0) < 0)
        {
            throw LibvirtException.OfThisThread();
        }

        try
        {
            for (var record = records; *record is not null; record++)
            {
                for (var index = 0; index < (*record)->Count; index++)
                {
                    var parameter = (*record)->Parameters[index];
                    if (parameter.Number is { } number)
                    {
                        Add(stats, parameter.Text(), number);
                    }
                }
            }
        }
        finally
        {
            NativeMethods.StatsRecordListFree(records);
        }

        return stats;
    }

    /// <summary>What its definition calls its disks.</summary>
    public static IReadOnlyList<string> Targets(DomainHandle domain)
    {
        var list = stackalloc nint[] { domain.DangerousGetHandle(), 0 };
        StatsRecord** records;
        if (NativeMethods.DomainListGetStats(list, Groups, &records, 0) < 0)
        {
            throw LibvirtException.OfThisThread();
        }

        var targets = new List<string>();
        try
        {
            for (var index = 0; index < (*records)->Count; index++)
            {
                var parameter = (*records)->Parameters[index];
                if (BlockName().IsMatch(parameter.Text()) && parameter.Type == StringType)
                {
                    targets.Add(Marshal.PtrToStringUTF8((nint)parameter.Value) ?? "");
                }
            }
        }
        finally
        {
            NativeMethods.StatsRecordListFree(records);
        }

        return targets;
    }

    [GeneratedRegex(@"^block\.[0-9]+\.name$")]
    private static partial Regex BlockName();

    /// <summary>Numbers are summed over devices: "net.0.rx.bytes", "block.1.rd.bytes". Sizes are in KiB, times in nanoseconds.</summary>
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
            case var _ when name.StartsWith("net.", StringComparison.Ordinal):
                AddNetwork(stats.Network, name[(name.IndexOf('.', 4) + 1)..], number);
                break;
            case var _ when name.StartsWith("block.", StringComparison.Ordinal) && name.EndsWith(".rd.bytes", StringComparison.Ordinal):
                stats.Block.ReadBytes += number;
                break;
            case var _ when name.StartsWith("block.", StringComparison.Ordinal) && name.EndsWith(".wr.bytes", StringComparison.Ordinal):
                stats.Block.WrittenBytes += number;
                break;
        }
    }

    private static void AddNetwork(NetworkStats stats, string counter, long number)
    {
        switch (counter)
        {
            case "rx.bytes":
                stats.ReceivedBytes += number;
                break;
            case "tx.bytes":
                stats.SentBytes += number;
                break;
            case "rx.pkts":
                stats.ReceivedPackets += number;
                break;
            case "tx.pkts":
                stats.SentPackets += number;
                break;
        }
    }

    /// <summary>Null for a domain of somebody else: its name is not made of its UUID as ours are.</summary>
    private static string? UidOf(nint domain)
    {
        var buffer = stackalloc byte[UuidBuffer];
        if (NativeMethods.DomainGetUuid(domain, buffer) < 0)
        {
            throw LibvirtException.OfThisThread();
        }

        var uid = Encoding.ASCII.GetString(buffer, UuidBuffer - 1);
        return Marshal.PtrToStringUTF8(NativeMethods.DomainGetName(domain)) == DomainXml.NameOf(uid) ? uid : null;
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
            Paused or PowerManaged => new DomainState(uid, VmmState.Paused, PoweredOff: false),
            _ => new DomainState(uid, VmmState.Stopped, PoweredOff: reason == AsTheGuestWished),
        };
    }
}
