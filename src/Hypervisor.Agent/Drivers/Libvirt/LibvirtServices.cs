using Hypervisor.Agent.Configuration;
using Hypervisor.Agent.Guests;

namespace Hypervisor.Agent.Drivers.Libvirt;

/// <summary>VMs through libvirt.</summary>
internal static class LibvirtServices
{
    /// <summary>As an <see cref="IVmm"/>. Needs a clock; loads libvirt when its socket is there and it is first used.</summary>
    public static LibvirtVmm Create(LibvirtOptions options, TimeProvider time) =>
        new(options, new LibvirtConnection(options, time), new LibvirtRecords(options.StateDirectory), time);

    /// <summary>The driver of VMs. Needs <see cref="GuestServices.AddGuests"/>.</summary>
    public static IServiceCollection AddVms(this IServiceCollection services, AgentConfiguration configuration) => services
        .AddSingleton<IInstanceDriver>(provider => GuestServices.Driver(
            provider,
            configuration,
            "vm",
            "v",
            Create(
                new LibvirtOptions { Uri = configuration.LibvirtUri, StateDirectory = Path.Combine(configuration.DataDirectory, "libvirt") },
                provider.GetRequiredService<TimeProvider>())));
}
