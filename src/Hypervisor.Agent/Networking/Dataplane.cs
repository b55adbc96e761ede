using System.Net;
using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Networking.Addressing;
using Hypervisor.Agent.Networking.Attachments;
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
internal sealed class Dataplane : IDisposable
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
    private bool _confinesForwarding;

    /// <summary>Enters the host's namespace with the calling thread, for good, and reads the records.</summary>
    public Dataplane(NetworkOptions options, ILogger logger)
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
        Directory.CreateDirectory(options.StateDirectory, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        _confinesForwarding = _settings.Changes(ForwardingKey, "1");
        Load();
    }

    /// <summary>Hears what happens to interfaces and addresses; for <see cref="ReadNotifications"/>.</summary>
    public NetlinkSocket Monitor { get; }

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
    public NetworkAttachment Attach(InstanceId id, Epoch epoch, NetworkSpec spec)
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

        var attachment = before is null ? Allocate(id, epoch, ports) : before with { Epoch = epoch, Ports = ports };
        if (before is null || before.Epoch != epoch || !before.Ports.SequenceEqual(ports))
        {
            _files.Save(attachment);
        }

        _attachments[id.Value] = attachment;
        _leaving.Remove(id.Value);
        var bridge = _bridge.Find()?.Index ?? _bridge.Ensure(Subnets()).Index;
        if (!_namespaces.Exists(id))
        {
            _namespaces.Create(id);
        }

        // Rules first: there is no moment at which it may speak as somebody else.
        _firewall.Change(Rules(), before, attachment);
        _wiring.Ensure(attachment, bridge, _route.FindLink(attachment.LinkName));
        return new(_namespaces.PathOf(id), attachment.Address, attachment.Subnet.PrefixLength, attachment.Subnet.Gateway.ToAddress());
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

        _bridge.Delete();

        // Forwarding before rules, for the reason given above.
        _settings.Restore();
        _firewall.Delete(_table);
        _namespaces.RemoveDirectory();
        _files.RemoveDirectory();
        _subnet = null;
    }

    /// <summary>Reads what has been heard.</summary>
    /// <returns>Whether something of ours is not as it should be.</returns>
    public bool ReadNotifications()
    {
        if (Monitor.ReceiveNotifications() is not { } notifications)
        {
            return true;
        }

        // Our own work is heard here too, later than done: only the present state counts.
        foreach (var notification in notifications)
        {
            switch (notification.Type)
            {
                case MessageType.DeleteLink:
                case MessageType.NewLink when !LinkInfo.Parse(notification).Up:
                    if (IsBroken(LinkInfo.Parse(notification).Name))
                    {
                        return true;
                    }

                    break;
                case MessageType.DeleteAddress when _subnet is { } subnet:
                    var lost = Addresses.Parse(notification);
                    if (lost.Address.ToUInt32() == subnet.Gateway && !_route.ListAddresses().Any(address => address.Address.Equals(lost.Address)))
                    {
                        return true;
                    }

                    break;
            }
        }

        return false;
    }

    public void Dispose()
    {
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

        var (bridge, changed) = _bridge.Ensure(Subnets());
        if (changed && !first)
        {
            _logger.Repaired($"bridge {_options.Bridge}");
        }

        _settings.Require(ForwardingKey, "1");
        EnsureAttachments(bridge);
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

                // Without its namespace (a reboot) it is remade when its instance is attached again, which then runs in the new one.
                if (_namespaces.Exists(attachment.Id) && _wiring.Ensure(attachment, bridge, links.GetValueOrDefault(attachment.LinkName)))
                {
                    _logger.Repaired($"the connection of instance {attachment.Id}");
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

    private Attachment Allocate(InstanceId id, Epoch epoch, IReadOnlyList<Publication> ports)
    {
        if (_subnet is not { } subnet)
        {
            throw new DriverException("NetworkNotReady", "The server has not yet given this node a subnet.", permanent: false);
        }

        var address = _allocator.Allocate(subnet) ?? throw new DriverException(
            "AddressesExhausted",
            $"All {subnet.LastInstance - subnet.FirstInstance + 1} addresses of the node's subnet {subnet} are taken: remove instances, or place this one elsewhere.",
            permanent: false);
        return new(id, epoch, address.ToAddress(), subnet, ports);
    }

    private bool IsBroken(string name)
    {
        if (name == _options.Bridge)
        {
            return _subnet is not null && _route.FindLink(name) is not { Up: true };
        }

        return name.StartsWith(Attachment.LinkPrefix, StringComparison.Ordinal)
            && _attachments.Values.Any(attachment => attachment.LinkName == name && !_leaving.Contains(attachment.Id.Value) && _namespaces.Exists(attachment.Id))
            && _route.FindLink(name) is not { Up: true, Master: > 0 };
    }

    /// <summary>The node's present subnet first, then those that older attachments still live in.</summary>
    private IReadOnlyList<Ipv4Subnet> Subnets()
    {
        var subnets = _attachments.Values.Select(attachment => attachment.Subnet);
        return [.. (_subnet is { } present ? subnets.Prepend(present) : subnets).Distinct()];
    }

    private RulesetInput Rules() => new(_table, _options.Bridge, Subnets(), [.. _attachments.Values], _confinesForwarding);

    private void Load()
    {
        var (attachments, unreadable) = _files.Load();
        foreach (var path in unreadable)
        {
            _logger.UnreadableRecord(path);
        }

        foreach (var attachment in attachments)
        {
            Take(attachment);
        }

        foreach (var id in _namespaces.List().Where(id => !_attachments.ContainsKey(id.Value) && _namespaces.Exists(id)))
        {
            if (FindInside(id) is { } attachment && Take(attachment))
            {
                _files.Save(attachment);
                _logger.Adopted(id.Value, attachment.Address.ToString());
            }
        }
    }

    private bool Take(Attachment attachment)
    {
        if (_allocator.TryReserve(attachment.Address.ToUInt32()))
        {
            _attachments[attachment.Id.Value] = attachment;
            return true;
        }

        var other = _attachments.Values.First(taken => taken.Address.Equals(attachment.Address));
        _logger.DuplicateAddress(attachment.Id.Value, other.Id.Value, attachment.Address.ToString());
        return false;
    }

    /// <summary>What an instance holds according to its namespace alone.</summary>
    private Attachment? FindInside(InstanceId id)
    {
        using var inside = _namespaces.Open(id);
        var address = _namespaces.Enter(inside, () =>
        {
            using var own = NetlinkSocket.Open();
            var link = own.FindLink(Wiring.InterfaceName);
            return own.ListAddresses().FirstOrDefault(address => address.Link == link?.Index);
        });
        return address.Address is not null && address.PrefixLength is >= Ipv4Subnet.ShortestPrefix and <= Ipv4Subnet.LongestPrefix
            ? new(id, Epoch.None, address.Address, new(address.Address.ToUInt32(), address.PrefixLength), [])
            : null;
    }
}
