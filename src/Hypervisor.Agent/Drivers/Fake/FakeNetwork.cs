using System.Globalization;
using System.Net;
using Hypervisor.Agent.Networking;
using Hypervisor.Agent.Networking.Addressing;
using Hypervisor.Agent.Networking.Attachments;
using Hypervisor.Hosting.Waiting;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Drivers.Fake;

/// <summary>Hands out addresses of the subnet in order and connects nothing.</summary>
internal sealed class FakeNetwork(FakeMachine machine, FakeFaults faults) : INodeNetwork
{
    private const int Hosts = 1 << 16;

    private readonly Signal _changed = new();
    private IPNetwork? _subnet;

    /// <summary>As if the kernel had reported a change.</summary>
    public void Hint() => _changed.Set();

    public async Task EnsureAsync(IPNetwork subnet, CancellationToken cancellationToken)
    {
        await faults.PassAsync(nameof(EnsureAsync), cancellationToken);
        _subnet = subnet;
    }

    public async Task<NetworkAttachment> AttachAsync(
        InstanceId id, Epoch epoch, NetworkSpec spec, ConnectionKind kind, string hostname, CancellationToken cancellationToken)
    {
        await faults.PassAsync(nameof(AttachAsync), cancellationToken);
        RefuseOlder(id, epoch);
        machine.AttachedUnder[id.Value] = epoch;
        if (machine.Attachments.TryGetValue(id.Value, out var present))
        {
            return present;
        }

        var subnet = _subnet ?? throw new DriverException("NetworkNotReady", "The node's network is not there yet.", permanent: false);
        var taken = machine.Attachments.Values.Select(attachment => attachment.Address).ToHashSet();
        var size = (int)Math.Min(Hosts, 1L << (32 - subnet.PrefixLength));
        for (var host = 2; host < size - 1; host++)
        {
            var address = At(subnet, host);
            if (!taken.Contains(address))
            {
                var path = kind == ConnectionKind.Tap ? "" : string.Create(CultureInfo.InvariantCulture, $"/run/netns/{id}");
                var attachment = new NetworkAttachment(path, address, subnet.PrefixLength, At(subnet, 1))
                {
                    Tap = kind == ConnectionKind.Tap ? Attachment.LinkPrefix + Convert.ToHexStringLower(address.GetAddressBytes()) : "",
                    TapIndex = kind == ConnectionKind.Tap ? host : 0,
                    HardwareAddress = address.ToHardwareAddressText(),
                };
                machine.Attachments.Add(id.Value, attachment);
                return attachment;
            }
        }

        throw new DriverException("AddressesExhausted", $"No address of {subnet} is free.", permanent: false);
    }

    public async Task DetachAsync(InstanceId id, Epoch epoch, CancellationToken cancellationToken)
    {
        await faults.PassAsync(nameof(DetachAsync), cancellationToken);
        RefuseOlder(id, epoch);
        machine.Attachments.Remove(id.Value);
        machine.AttachedUnder.Remove(id.Value);
    }

    public async Task<IReadOnlyList<InstanceId>> ListAsync(CancellationToken cancellationToken)
    {
        await faults.PassAsync(nameof(ListAsync), cancellationToken);
        return [.. machine.Attachments.Keys.Select(uid => new InstanceId(uid))];
    }

    public async Task WaitForChangeAsync(CancellationToken cancellationToken)
    {
        await faults.PassAsync(nameof(WaitForChangeAsync), cancellationToken);
        await _changed.WaitAsync(cancellationToken);
    }

    private void RefuseOlder(InstanceId id, Epoch epoch)
    {
        if (machine.AttachedUnder.TryGetValue(id.Value, out var present) && epoch < present)
        {
            throw new DriverException("StaleEpoch", $"Instance {id} is attached under epoch {present}; epoch {epoch} is older.", permanent: true);
        }
    }

    private static IPAddress At(IPNetwork subnet, int host)
    {
        var bytes = subnet.BaseAddress.GetAddressBytes();
        var number = System.Buffers.Binary.BinaryPrimitives.ReadUInt32BigEndian(bytes) + (uint)host;
        System.Buffers.Binary.BinaryPrimitives.WriteUInt32BigEndian(bytes, number);
        return new IPAddress(bytes);
    }
}
