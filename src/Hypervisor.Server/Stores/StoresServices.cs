using Hypervisor.Server.Configuration;
using Hypervisor.Server.Stores.Etcd;
using Hypervisor.Server.Stores.Sqlite;

namespace Hypervisor.Server.Stores;

/// <summary>Which store the server runs on.</summary>
/// <param name="DataDirectory">Where the embedded store keeps <c>store.db</c>; created if it is missing.</param>
/// <param name="Sqlite">Settings of the embedded store.</param>
/// <param name="Etcd">Where etcd is; null means the embedded store.</param>
internal sealed record StoreOptions(string DataDirectory, SqliteStoreOptions? Sqlite = null, EtcdConfiguration? Etcd = null);

internal static class StoresServices
{
    public const string FileName = "store.db";

    /// <summary>
    /// Registers the store, opened when it is first asked for and closed with the container, and the writer before it. Opening
    /// fails with a <see cref="StoreUnavailableException"/> that is meant for the person who starts the server.
    /// </summary>
    public static IServiceCollection AddStores(this IServiceCollection services, StoreOptions options)
    {
        services.AddSingleton<IClusterStore>(provider => OpenAsync(
            options, provider.GetRequiredService<TimeProvider>(), provider.GetRequiredService<ILoggerFactory>()).GetAwaiter().GetResult());
        services.AddSingleton<StoreWriter>();
        return services;
    }

    /// <exception cref="StoreUnavailableException">
    /// As <see cref="SqliteStore.OpenAsync"/> and <see cref="EtcdStore.OpenAsync"/> state.
    /// </exception>
    public static async Task<IClusterStore> OpenAsync(StoreOptions options, TimeProvider time, ILoggerFactory? loggers = null)
    {
        if (options.Etcd is { } etcd)
        {
            return await EtcdStore.OpenAsync(etcd, time, loggers?.CreateLogger<EtcdStore>());
        }

        try
        {
            Directory.CreateDirectory(options.DataDirectory, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw new StoreUnavailableException(
                $"data_dir {options.DataDirectory} cannot be created ({exception.Message}): name a folder that the server may write.", exception);
        }

        return await SqliteStore.OpenAsync(
            Path.Combine(options.DataDirectory, FileName), time, loggers?.CreateLogger<SqliteStore>(), options.Sqlite);
    }
}
