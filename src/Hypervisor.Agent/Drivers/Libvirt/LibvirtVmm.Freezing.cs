using Hypervisor.Agent.Drivers.Libvirt.Interop;
using Hypervisor.Protocol;

namespace Hypervisor.Agent.Drivers.Libvirt;

internal sealed partial class LibvirtVmm
{
    public async Task<bool> FreezeAsync(InstanceId id, CancellationToken cancellationToken)
    {
        try
        {
            await ByItsAgentAsync(id, NativeMethods.DomainFreeze, cancellationToken);
            return true;
        }
        catch (LibvirtException)
        {
            // No agent in the guest, or one that did not answer in time.
            return false;
        }
    }

    public async Task ThawAsync(InstanceId id, CancellationToken cancellationToken)
    {
        try
        {
            await ByItsAgentAsync(id, NativeMethods.DomainThaw, cancellationToken);
        }
        catch (LibvirtException refusal)
        {
            throw Failed("have the guest's agent let it write again", refusal);
        }
    }

    private Task<int> ByItsAgentAsync(InstanceId id, Func<DomainHandle, nint, uint, uint, int> call, CancellationToken cancellationToken) => AskAsync(
        handle =>
        {
            using var domain = LibvirtDomains.Lookup(handle, id.Value) ?? throw NotRunning(id);
            Checked(NativeMethods.DomainSetAgentTimeout(domain, LibvirtLimits.AgentSeconds, 0));
            return Checked(call(domain, 0, 0, 0));
        },
        LibvirtLimits.Change,
        cancellationToken);
}
