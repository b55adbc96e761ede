using Hypervisor.Agent.Networking.Addressing;
using Hypervisor.Agent.Networking.Attachments;
using Hypervisor.Agent.Networking.Netlink;

namespace Hypervisor.Agent.Networking;

/// <content>What the kernel reports.</content>
internal sealed partial class Dataplane
{
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

    private bool IsBroken(string name)
    {
        if (name == _options.Bridge)
        {
            return _subnet is not null && _route.FindLink(name) is not { Up: true };
        }

        return name.StartsWith(Attachment.LinkPrefix, StringComparison.Ordinal)
            && _attachments.Values.Any(attachment => attachment.LinkName == name && !_leaving.Contains(attachment.Id.Value) && IsWanted(attachment))
            && _route.FindLink(name) is not { Up: true, Master: > 0 };
    }
}
