using Hypervisor.Hosting.Registries;
using Hypervisor.Server.Configuration;
using Hypervisor.Server.Images.Aliases;
using Hypervisor.Server.Images.Blobs;
using Hypervisor.Server.Images.Downloads;
using Hypervisor.Server.Images.Registries;

namespace Hypervisor.Server.Images;

/// <summary>Registration of everything in this folder. Needs ServerConfiguration, the state and the store's writer.</summary>
internal static class ImagesServices
{
    public static IServiceCollection AddImages(this IServiceCollection services) => services
        .AddSingleton(provider => provider.GetRequiredService<ServerConfiguration>().Images)
        .AddSingleton(provider => BlobStore.Open(provider.GetRequiredService<ServerConfiguration>().DataDirectory))
        .AddSingleton<ImageCollector>()
        .AddSingleton<ImageRecords>()
        .AddSingleton<ImageCatalogue>()
        .AddSingleton<RegistryClient>()
        .AddSingleton(provider => new RegistryDirectory(provider.GetRequiredService<ServerConfiguration>().Registries))
        .AddSingleton<RemoteImages>()
        .AddSingleton(provider => new ImageAliases(provider.GetRequiredService<ImagesConfiguration>().Aliases))
        .AddSingleton(provider => new ImageDownloads(
            RegistryDirectory.ImportHosts(provider.GetRequiredService<ServerConfiguration>()), provider.GetRequiredService<TimeProvider>()))
        .AddSingleton<UrlImports>()
        .AddSingleton<AliasImports>()
        .AddSingleton<ImageResolution>()
        .AddSingleton<ImagePulls>();
}
