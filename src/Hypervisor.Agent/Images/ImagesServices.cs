using Hypervisor.Agent.Instances;
using Hypervisor.Hosting.Registries;

namespace Hypervisor.Agent.Images;

internal static class ImagesServices
{
    /// <summary>Images into containerd. Needs <c>AddContainerd</c>, the control plane, a clock, randomness and logging.</summary>
    /// <param name="cacheBytes">What images may take on disk before unused ones are removed; 0 means without limit.</param>
    public static IServiceCollection AddImages(this IServiceCollection services, long cacheBytes) => services
        .AddSingleton<RegistryClient>()
        .AddSingleton<ImageUse>()
        .AddSingleton<IImageProvider, ImageProvider>()
        .AddSingleton(provider => ActivatorUtilities.CreateInstance<ImageCache>(provider, cacheBytes))
        .AddHostedService<ImageCacheHost>();
}
