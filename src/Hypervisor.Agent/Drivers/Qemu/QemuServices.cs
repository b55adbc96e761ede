using Hypervisor.Agent.Guests;

namespace Hypervisor.Agent.Drivers.Qemu;

internal static class QemuServices
{
    /// <summary>microVMs through QEMU, as an <see cref="IVmm"/>. Needs a clock; touches nothing until it is used.</summary>
    public static QemuVmm Create(QemuOptions options, QemuProbe probe, TimeProvider time) =>
        new(options, new QemuRecords(options.StateDirectory), new GuestCgroups(options.CgroupParent, time), probe, time);
}
