using System.Net;
using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Networking.Addressing;
using Hypervisor.Agent.Networking.Attachments;
using Hypervisor.Agent.Networking.Dhcp;
using Hypervisor.Agent.Networking.Interop;
using Hypervisor.Agent.Networking.Namespaces;
using Hypervisor.Agent.Networking.Netlink;
using Hypervisor.Agent.Networking.Nftables;
using Hypervisor.Agent.Networking.Sysctls;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Microsoft.Win32.SafeHandles;

namespace Hypervisor.Agent.Networking;

/// <summary>
/// The node network itself, synchronous: what <see cref="NodeNetwork"/> promises, done on one thread. Records first, then the
/// kernel; on the way out the kernel first, then the record. So after a crash anything in the kernel has a record.
/// </summary>
internal sealed partial class Dataplane : IDisposable
{
    private const string ForwardingKey = "net/ipv4/ip_forward";

    private readonly ILogger _logger;
    private readonly NetworkOptions _options;
    private readonly SafeFileHandle _host;
    private readonly NetlinkSocket _route;
    private readonly NetworkNamespaces _namespaces;
    private readonly AttachmentFiles _files;
    private readonly KernelSettings _settings;
    private readonly Bridge _bridge;
    private readonly Wiring _wiring;
    private readonly Nft _nft;
    private readonly Firewall _firewall;
    private readonly AddressAllocator _allocator = new();
    private readonly SortedDictionary<string, Attachment> _attachments = new(StringComparer.Ordinal);
    private readonly HashSet<string> _leaving = new(StringComparer.Ordinal);
    private readonly string _table;
    private Ipv4Subnet? _subnet;
    private int _mtu;
    private bool _confinesForwarding;

    /// <summary>Enters the host's namespace with the calling thread, for good, and reads the records.</summary>
    public Dataplane(NetworkOptions options, TimeProvider time, ILogger logger)
    {
        _options = options;
        _logger = logger;
        _table = Ruleset.TableFor(options.Bridge);
        if (options.HostNamespace is { } path)
        {
            using var other = Errno.Handle(Libc.Open(path, Libc.OpenReadOnlyCloexec, 0), $"cannot open network namespace {path}");
            Errno.Check(Libc.SetNamespace(other, Libc.CloneNewNet), $"cannot enter network namespace {path}");
        }

        // First of all: a node without the library asks again and again, and nothing shall be left open each time.
        _nft = Nft.Open();
        _host = Errno.Handle(Libc.Open("/proc/thread-self/ns/net", Libc.OpenReadOnlyCloexec, 0), "cannot open the host's network namespace");
        _route = NetlinkSocket.Open();
        Monitor = NetlinkSocket.Open(MulticastGroup.Link | MulticastGroup.Ipv4Address);
        _namespaces = new(Path.Combine(options.RunDirectory, "netns"), _host);
        _files = new(Path.Combine(options.StateDirectory, "attachments"));
        _settings = new(Path.Combine(options.StateDirectory, "settings.json"), "/proc/sys", KernelSettings.CurrentBootId());
        _bridge = new(options.Bridge, _route, _settings);
        _wiring = new(_route, _namespaces);
        _firewall = new(_nft);
        Dhcp = new(Path.Combine(options.RunDirectory, "dhcp"), options.DhcpProgram, time, logger);
        Directory.CreateDirectory(options.StateDirectory, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        _confinesForwarding = _settings.Changes(ForwardingKey, "1");
        Load();
    }

    /// <summary>Hears what happens to interfaces and addresses; for <see cref="ReadNotifications"/>.</summary>
    public NetlinkSocket Monitor { get; }

    public DhcpServer Dhcp { get; }

    /// <inheritdoc cref="INodeNetwork.EnsureAsync"/>
    public void Ensure(IPNetwork network)
    {
        if (network.BaseAddress.AddressFamily != System.Net.Sockets.AddressFamily.InterNetwork
            || network.PrefixLength is < Ipv4Subnet.ShortestPrefix or > Ipv4Subnet.LongestPrefix)
        {
            throw new DriverException(
                "InvalidSubnet",
                $"{network} cannot be a node's subnet: it must be IPv4 with a prefix of {Ipv4Subnet.ShortestPrefix} to {Ipv4Subnet.LongestPrefix} bits.",
                permanent: false);
        }

        var former = _subnet;
        _subnet = Ipv4Subnet.Of(network);
        try
        {
            EnsureAll(first: former is null);
        }
        catch (Exception refused) when (refused is DriverException or IOException)
        {
            // Nobody gets an address of a subnet that could not be set up.
            _subnet = former;
            throw;
        }
    }

    /// <inheritdoc cref="INodeNetwork.AttachAsync"/>
    public NetworkAttachment Attach(InstanceId id, Epoch epoch, NetworkSpec spec, ConnectionKind kind, string hostname)
    {
        RefuseForeignName(id);
        RefuseOlder(id, epoch);
        var before = _attachments.GetValueOrDefault(id.Value);
        var ports = PortRequests.Parse(spec);
        PortRequests.RefuseCollisions(id, ports, _attachments.Values);
        foreach (var port in ports.Where(port => before is null || !before.Ports.Any(port.CollidesWith)))
        {
            PortRequests.RefuseListeners(port);
        }

        var attachment = (before ?? Allocate(id)) with
        {
            Epoch = epoch,
            Ports = ports,
            Kind = kind,
            Answer = kind == ConnectionKind.Tap ? GuestAnswers.Of(spec, hostname) : null,
            Rate = NetworkRate.Of(spec.Rates),
        };
        if (before is null || !AttachmentFiles.Encode(before).AsSpan().SequenceEqual(AttachmentFiles.Encode(attachment)))
        {
            _files.Save(attachment);
        }

        _attachments[id.Value] = attachment;
        _leaving.Remove(id.Value);
        var bridge = FindOrMakeBridge();
        if (kind == ConnectionKind.Tap)
        {
            _namespaces.Remove(id);
        }
        else if (!_namespaces.Exists(id))
        {
            _namespaces.Create(id);
        }

        // Rules first: there is no moment at which it may speak as somebody else.
        _firewall.Change(Rules(), before, attachment);
        _wiring.Ensure(attachment, bridge, _mtu, _route.FindLink(attachment.LinkName));
        if (kind == ConnectionKind.Tap)
        {
            Dhcp.Ensure(PlanDhcp(bridge));
        }

        return Describe(attachment);
    }

    /// <summary>First half of <see cref="INodeNetwork.DetachAsync"/>: takes the instance out of the rules.</summary>
    /// <returns>What is to be deleted before <see cref="EndDetach"/>; on any thread, for the kernel takes its time.</returns>
    public Departure BeginDetach(InstanceId id, Epoch epoch)
    {
        RefuseForeignName(id);
        RefuseOlder(id, epoch);
        return BeginDetach(id);
    }

    private Departure BeginDetach(InstanceId id)
    {
        if (!_attachments.TryGetValue(id.Value, out var attachment))
        {
            var links = _route.ListLinks().Where(link => link.Alias == Attachment.AliasOf(id));
            return new([.. links.Select(link => link.Name)]);
        }

        var withoutPorts = attachment with { Ports = [] };
        _attachments[id.Value] = withoutPorts;
        _leaving.Add(id.Value);
        _firewall.Change(Rules(), attachment, withoutPorts);
        return new([attachment.LinkName]);
    }

    /// <summary>Second half: the namespace, then the record and with it the address.</summary>
    public void EndDetach(InstanceId id)
    {
        // Attached again in between.
        if (_attachments.ContainsKey(id.Value) && !_leaving.Contains(id.Value))
        {
            return;
        }

        _namespaces.Remove(id);
        _files.Delete(id);
        _leaving.Remove(id.Value);
        if (_attachments.Remove(id.Value, out var attachment))
        {
            _allocator.Release(attachment.Address.ToUInt32());
            _firewall.Change(Rules(), attachment, null);
            if (attachment.Kind == ConnectionKind.Tap && _bridge.Find() is { } bridge)
            {
                Dhcp.Ensure(PlanDhcp(bridge.Index));
            }
        }
    }

    /// <inheritdoc cref="INodeNetwork.ListAsync"/>
    public IReadOnlyList<InstanceId> List() =>
        [.. _attachments.Keys.Union(_namespaces.List().Select(id => id.Value)).Order(StringComparer.Ordinal).Select(uid => new InstanceId(uid))];

    /// <inheritdoc cref="INodeNetwork.TearDownAsync"/>
    public void TearDown()
    {
        foreach (var id in List())
        {
            using (var departure = BeginDetach(id))
            {
                departure.DeleteLinks();
            }

            EndDetach(id);
        }

        Dhcp.Remove();
        _bridge.Delete();

        // Forwarding before rules, for the reason given above.
        _settings.Restore();
        _firewall.Delete(_table);
        _namespaces.RemoveDirectory();
        _files.RemoveDirectory();
        _subnet = null;
    }

    public void Dispose()
    {
        Dhcp.Dispose();
        _nft.Dispose();
        Monitor.Dispose();
        _route.Dispose();
        _host.Dispose();
    }

    private void EnsureAll(bool first)
    {
        _confinesForwarding = _settings.Changes(ForwardingKey, "1");

        // Rules before forwarding: there is no moment at which the host forwards to instances unfiltered.
        if (_firewall.Ensure(Rules()))
        {
            _logger.Repaired($"nftables tables {_table}");
        }

        _mtu = _bridge.ChooseMtu(_options.Mtu);
        var (bridge, changed) = _bridge.Ensure(Subnets(), _mtu);
        if (changed && !first)
        {
            _logger.Repaired($"bridge {_options.Bridge}");
        }

        _settings.Require(ForwardingKey, "1");
        EnsureAttachments(bridge);
        Dhcp.Ensure(PlanDhcp(bridge));
    }

    private void EnsureAttachments(int bridge)
    {
        var links = _route.ListLinks().ToDictionary(link => link.Name);
        IOException? first = null;
        foreach (var attachment in _attachments.Values.Where(attachment => !_leaving.Contains(attachment.Id.Value)))
        {
            try
            {
                if (!_files.Has(attachment.Id))
                {
                    _files.Save(attachment);
                }

                var link = links.GetValueOrDefault(attachment.LinkName);
                if (IsWanted(attachment) && _wiring.Ensure(attachment, bridge, _mtu, link))
                {
                    _logger.Repaired($"the connection of instance {attachment.Id}");
                    if (attachment.Kind == ConnectionKind.Tap && link is null)
                    {
                        _logger.TapRemade(attachment.Id.Value);
                    }
                }
            }
            catch (IOException failed)
            {
                // One that cannot be repaired keeps no other from it; the caller hears of the first.
                first ??= failed;
            }
        }

        if (first is not null)
        {
            throw new IOException(first.Message, first);
        }
    }

    /// <summary>Without its namespace (a reboot) it is remade when its instance is attached again, which then runs in the new one.</summary>
    private bool IsWanted(Attachment attachment) => attachment.Kind == ConnectionKind.Tap || _namespaces.Exists(attachment.Id);

    private int FindOrMakeBridge()
    {
        if (_mtu == 0)
        {
            _mtu = _bridge.ChooseMtu(_options.Mtu);
        }

        return _bridge.Find()?.Index ?? _bridge.Ensure(Subnets(), _mtu).Index;
    }

    private NetworkAttachment Describe(Attachment attachment)
    {
        var (address, subnet) = (attachment.Address, attachment.Subnet);
        var described = new NetworkAttachment("", address, subnet.PrefixLength, subnet.Gateway.ToAddress())
        {
            HardwareAddress = address.ToHardwareAddressText(),
            Mtu = _mtu,
        };
        return attachment.Kind == ConnectionKind.Tap
            ? described with { Tap = attachment.LinkName, TapIndex = _route.FindLink(attachment.LinkName)?.Index ?? 0, DhcpProblem = Dhcp.Problem }
            : described with { NamespacePath = _namespaces.PathOf(attachment.Id) };
    }

    private void RefuseOlder(InstanceId id, Epoch epoch)
    {
        if (_attachments.GetValueOrDefault(id.Value) is { } present && epoch < present.Epoch)
        {
            throw new DriverException("StaleEpoch", $"Instance {id} is attached under epoch {present.Epoch}; epoch {epoch} is older.", permanent: true);
        }
    }

    private static void RefuseForeignName(InstanceId id)
    {
        if (!InstanceUid.IsValid(id.Value))
        {
            throw new DriverException("InvalidUid", "An instance's uid must be a lower-case UUID.", permanent: true);
        }
    }

    private Attachment Allocate(InstanceId id)
    {
        if (_subnet is not { } subnet)
        {
            throw new DriverException("NetworkNotReady", "The server has not yet given this node a subnet.", permanent: false);
        }

        var address = _allocator.Allocate(subnet) ?? throw new DriverException(
            "AddressesExhausted",
            $"All {subnet.LastInstance - subnet.FirstInstance + 1} addresses of the node's subnet {subnet} are taken: remove instances, or place this one elsewhere.",
            permanent: false);
        return new(id, Epoch.None, address.ToAddress(), subnet, []);
    }

    /// <summary>The node's present subnet first, then those that older attachments still live in.</summary>
    private IReadOnlyList<Ipv4Subnet> Subnets()
    {
        var subnets = _attachments.Values.Select(attachment => attachment.Subnet);
        return [.. (_subnet is { } present ? subnets.Prepend(present) : subnets).Distinct()];
    }

    private DhcpPlan PlanDhcp(int bridge) => new(
        _options.Bridge,
        bridge,
        _mtu,
        Subnets(),
        Resolvers.For([], _options.DnsServers),
        [.. _attachments.Values.Where(attachment => attachment.Kind == ConnectionKind.Tap && !_leaving.Contains(attachment.Id.Value))]);

    private RulesetInput Rules() => new(_table, _options.Bridge, Subnets(), [.. _attachments.Values], _confinesForwarding);
}
