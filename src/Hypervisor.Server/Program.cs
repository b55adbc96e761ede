using Hypervisor.Hosting.Configuration;
using Hypervisor.Hosting.Randomness;
using Hypervisor.Server;
using Hypervisor.Server.Backups;
using Hypervisor.Server.Configuration;
using Hypervisor.Server.Stores;

var commandLine = CommandLine.Parse(args);
if (commandLine.Text is { } text)
{
    (commandLine.ExitCode == 0 ? Console.Out : Console.Error).WriteLine(text);
    return commandLine.ExitCode;
}

try
{
    var configuration = ServerConfigurationLoader.Load(
        commandLine.ConfigurationFile, ConfigurationReader.ProcessEnvironment(ServerConfigurationLoader.EnvironmentPrefix));
#pragma warning disable RS0030 // The composition root: here the real clock comes in.
    var time = TimeProvider.System;
#pragma warning restore RS0030
    StoreOptions stores = new(configuration.DataDirectory, Etcd: configuration.Etcd);
    if (commandLine.RestoreFile is { } backup)
    {
        await using var store = await StoresServices.OpenAsync(stores, time);
        Console.WriteLine(await ClusterRestore.RunAsync(backup, store, configuration.DataDirectory));
        return 0;
    }

    await using var app = ServerApplication.Build(
        configuration, time, new SystemRandomSource(), services => services.AddStores(stores));
    return await ServerRun.RunAsync(app, configuration);
}
catch (ConfigurationException exception)
{
    foreach (var error in exception.Errors)
    {
        Console.Error.WriteLine($"hypervisor-server: {error}");
    }

    return 1;
}
catch (Exception exception) when (exception is StartupException or StoreUnavailableException)
{
    Console.Error.WriteLine($"hypervisor-server: {exception.Message}");
    return 1;
}
