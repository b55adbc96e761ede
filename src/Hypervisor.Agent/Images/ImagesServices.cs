using Hypervisor.Agent.Instances;

namespace Hypervisor.Agent.Images;

internal static class ImagesServices
{
    /// <summary>Images over the control plane into containerd. Needs <c>AddContainerd</c>, the control plane, a clock and randomness.</summary>
    public static IServiceCollection AddImages(this IServiceCollection services) =>
        services.AddSingleton<IImageProvider, ImageProvider>();
}
