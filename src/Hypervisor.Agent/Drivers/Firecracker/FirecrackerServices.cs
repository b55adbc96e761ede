using Hypervisor.Agent.Guests;

namespace Hypervisor.Agent.Drivers.Firecracker;

internal static class FirecrackerServices
{
    /// <summary>microVMs through Firecracker, as an <see cref="IVmm"/>. Needs a clock; touches nothing until it is used.</summary>
    public static IServiceCollection AddFirecracker(this IServiceCollection services, FirecrackerOptions options) =>
        services.AddSingleton<IVmm>(provider => Create(options, provider.GetRequiredService<TimeProvider>()));

    public static FirecrackerVmm Create(FirecrackerOptions options, TimeProvider time)
    {
        var records = new FirecrackerRecords(options.StateDirectory);
        return new FirecrackerVmm(
            options,
            records,
            new FirecrackerLaunch(options, records, new GuestCgroups(options.CgroupParent, time), time),
            new FirecrackerProbe(options, time),
            new GuestFolders(options),
            time);
    }
}
