using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Guests;

/// <summary>KVM is tried with what starts microVMs, which may be there without QEMU; nothing but QEMU has software emulation.</summary>
internal sealed class NodeTrial(IGuestTrial qemu, IGuestTrial firecracker, Func<bool> usesFirecracker) : IGuestTrial
{
    public async Task<string> InputsAsync(CancellationToken cancellationToken) =>
        $"{await qemu.InputsAsync(cancellationToken)} {(usesFirecracker() ? await firecracker.InputsAsync(cancellationToken) : "-")}";

    public Task<string?> BootAsync(Accelerator accelerator, CancellationToken cancellationToken) =>
        (accelerator == Accelerator.Kvm && usesFirecracker() ? firecracker : qemu).BootAsync(accelerator, cancellationToken);

    /// <summary>Both: what an earlier agent used may have been the other.</summary>
    public async Task ClearAsync(CancellationToken cancellationToken)
    {
        await qemu.ClearAsync(cancellationToken);
        await firecracker.ClearAsync(cancellationToken);
    }
}
