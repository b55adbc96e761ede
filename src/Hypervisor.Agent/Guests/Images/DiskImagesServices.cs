using Hypervisor.Agent.ControlPlane;

namespace Hypervisor.Agent.Guests.Images;

internal static class DiskImagesServices
{
    /// <summary>
    /// Disk images and kernel sets, without containerd. Needs the control plane and a clock; whoever makes disks of images registers
    /// an <see cref="IImageHolder"/>.
    /// </summary>
    public static IServiceCollection AddDiskImages(this IServiceCollection services, string dataDirectory) => services.AddSingleton(
        provider => new DiskImageStore(
            dataDirectory, provider.GetRequiredService<IControlPlane>(), provider.GetRequiredService<TimeProvider>(), provider.GetServices<IImageHolder>()));
}
