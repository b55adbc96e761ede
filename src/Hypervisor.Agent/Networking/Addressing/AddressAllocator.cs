namespace Hypervisor.Agent.Networking.Addressing;

/// <summary>
/// Hands out addresses, each to one holder at a time (AddressUnique). Takes the next free one after the last given, so that
/// an address rests as long as possible: neighbours' ARP entries and connection tracking still point at its last holder.
/// </summary>
internal sealed class AddressAllocator
{
    private readonly HashSet<uint> _taken = [];
    private uint _last;

    /// <summary>Marks an address as held, in whatever subnet.</summary>
    /// <returns>False when somebody holds it already.</returns>
    public bool TryReserve(uint address)
    {
        if (!_taken.Add(address))
        {
            return false;
        }

        _last = address;
        return true;
    }

    /// <returns>Null when every address of the subnet is held.</returns>
    public uint? Allocate(Ipv4Subnet subnet)
    {
        var count = subnet.LastInstance - subnet.FirstInstance + 1;
        var start = _last >= subnet.FirstInstance && _last < subnet.LastInstance ? _last + 1 : subnet.FirstInstance;
        for (uint step = 0; step < count; step++)
        {
            var candidate = subnet.FirstInstance + ((start - subnet.FirstInstance + step) % count);
            if (TryReserve(candidate))
            {
                return candidate;
            }
        }

        return null;
    }

    public void Release(uint address) => _taken.Remove(address);
}
