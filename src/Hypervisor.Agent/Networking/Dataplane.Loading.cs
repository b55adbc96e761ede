using Hypervisor.Agent.Networking.Addressing;
using Hypervisor.Agent.Networking.Attachments;
using Hypervisor.Agent.Networking.Netlink;
using Hypervisor.Protocol;

namespace Hypervisor.Agent.Networking;

/// <content>What is there when the agent starts.</content>
internal sealed partial class Dataplane
{
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

        foreach (var attachment in FindTaps())
        {
            if (!_attachments.ContainsKey(attachment.Id.Value) && Take(attachment))
            {
                _files.Save(attachment);
                _logger.Adopted(attachment.Id.Value, attachment.Address.ToString());
            }
        }
    }

    /// <summary>What machines hold according to the ports of our bridge alone: a tap is named after its address, its alias after the instance.</summary>
    private IEnumerable<Attachment> FindTaps()
    {
        if (_route.FindLink(_options.Bridge) is not { } bridge)
        {
            yield break;
        }

        var gateways = _route.ListAddresses().Where(address => address.Link == bridge.Index).ToList();
        foreach (var link in _route.ListLinks().Where(link => link.Kind == Taps.Kind && link.Master == bridge.Index))
        {
            if (Attachment.InstanceOf(link.Alias) is not { } id || Attachment.AddressOf(link.Name) is not { } address)
            {
                continue;
            }

            foreach (var gateway in gateways.Where(gateway => gateway.PrefixLength is >= Ipv4Subnet.ShortestPrefix and <= Ipv4Subnet.LongestPrefix))
            {
                var subnet = new Ipv4Subnet(gateway.Address.ToUInt32(), gateway.PrefixLength);
                if (subnet.Contains(address.ToUInt32()))
                {
                    yield return new(id, Epoch.None, address, subnet, []) { Kind = ConnectionKind.Tap, Answer = GuestAnswers.Of("", [], []) };
                    break;
                }
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
