using System.Reflection;
using Hypervisor.Agent;
using Hypervisor.Agent.Api;
using Hypervisor.Agent.Configuration;
using Hypervisor.Agent.ControlPlane;
using Hypervisor.Agent.Drivers.Containerd;
using Hypervisor.Agent.Drivers.Fake;
using Hypervisor.Agent.Drivers.Libvirt;
using Hypervisor.Agent.Guests;
using Hypervisor.Agent.Guests.Images;
using Hypervisor.Agent.Images;
using Hypervisor.Agent.Instances;
using Hypervisor.Agent.Networking;
using Hypervisor.Agent.Node;
using Hypervisor.Agent.Telemetry;
using Hypervisor.Hosting.Configuration;
using Hypervisor.Hosting.Memory;
using Hypervisor.Hosting.Randomness;

const int Failed = 1;
const int Usage = 2;

var version = Assembly.GetExecutingAssembly().GetCustomAttribute<AssemblyInformationalVersionAttribute>()?.InformationalVersion ?? "0";
var commandLine = CommandLine.Parse(args);
if (commandLine.Error is { } error)
{
    Console.Error.WriteLine($"hypervisor-agent: {error}");
    return Usage;
}

if (commandLine.ShowHelp || commandLine.ShowVersion)
{
    Console.WriteLine(commandLine.ShowHelp ? CommandLine.Help : $"hypervisor-agent {version}");
    return 0;
}

NativeHeap.ShareOneArena();
AgentConfiguration configuration;
try
{
    configuration = AgentConfigurationLoader.Load(
        commandLine.ConfigPath,
        ConfigurationReader.ProcessEnvironment(AgentConfigurationLoader.EnvironmentPrefix),
        Environment.MachineName);
}
catch (ConfigurationException exception)
{
    foreach (var line in exception.Errors)
    {
        Console.Error.WriteLine(line);
    }

    return Usage;
}

// Empty: no file or variable but the agent's own configures it, and nothing is loaded that it does not use.
var builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions { ApplicationName = "hypervisor-agent" });
builder.Logging.AddAgentLogging(configuration.LogLevel, configuration.LogFormat);
builder.WebHost.UseKestrelCore().ConfigureKestrel(kestrel =>
{
    kestrel.ListenOn(configuration.ListenAddress);
    kestrel.ListenForMetrics(configuration.MetricsAddress);
});
builder.Services.Configure<HostOptions>(options => options.ShutdownTimeout = Limits.ShutdownTimeout);
builder.Services.AddRoutingCore();

#pragma warning disable RS0030 // The composition root is where the real clock comes from.
builder.Services.AddSingleton(TimeProvider.System);
#pragma warning restore RS0030
builder.Services.AddSingleton<IRandomSource, KernelRandomSource>();
builder.Services.AddSingleton(configuration);
builder.Services.AddControlPlane(configuration);
builder.Services.AddNode(configuration, version);
builder.Services.AddInstances();
builder.Services.AddApi();
builder.Services.AddTelemetry(configuration, version);
builder.Services.AddHostedService<IdleMemoryHost>();
if (commandLine.FakeDriver)
{
    builder.Services.AddFakeMachine();
}
else
{
    builder.Services.AddContainerd(new ContainerdOptions
    {
        SocketPath = configuration.Containerd.SocketPath,
        Namespace = configuration.Containerd.Namespace,
        Snapshotter = configuration.Containerd.Snapshotter,
        ShimGroup = configuration.Containerd.ShimGroup,
        SeccompProfile = configuration.Containerd.SeccompProfile,
        StateDirectory = configuration.Containerd.StateDirectory,
        ForeignArchitectures = configuration.Containerd.ForeignArchitectures,
        CgroupParent = configuration.Containerd.CgroupParent,
        RunDirectory = Path.Combine(configuration.RunDirectory, "containerd"),
        DnsServers = configuration.Network.DnsServers,
        LogDirectory = Path.Combine(configuration.DataDirectory, "logs"),
        Logs = configuration.Logs,
    });
    builder.Services.AddDiskImages(configuration.DataDirectory);
    builder.Services.AddImages(configuration.ImageCacheBytes);
    builder.Services.AddGuests(configuration).AddMicrovms(configuration).AddVms(configuration);
    builder.Services.AddHealthProbes();
    if (configuration.Network.Enabled)
    {
        builder.Services.AddNetworking(new NetworkOptions
        {
            Bridge = configuration.Network.Bridge,
            Mtu = configuration.Network.Mtu,
            DnsServers = configuration.Network.DnsServers,
            DataDirectory = configuration.DataDirectory,
            RunDirectory = configuration.RunDirectory,
        });
    }
}

try
{
    using var alone = DataDirectory.Hold(configuration.DataDirectory);
    await using var app = builder.Build();
    if (commandLine.TearDownNetwork)
    {
        return await NetworkTearDown.RunAsync(app.Services);
    }

    app.MapMetrics(configuration.MetricsAddress);
    app.MapApi();
    Log.Starting(app.Logger, version, configuration.Hostname, configuration.ListenAddress, configuration.ServerAddress);
    if (configuration.Insecure)
    {
        Log.Insecure(app.Logger);
    }

    await app.RunAsync();
    return Environment.ExitCode;
}
catch (Exception exception) when (exception is IOException or InvalidDataException or System.Net.Sockets.SocketException)
{
    // A port in use, an identity that cannot be trusted: the message says what to do, a stack trace would hide it.
    Console.Error.WriteLine($"hypervisor-agent: {exception.Message}");
    return Failed;
}

internal static partial class Log
{
    [LoggerMessage(Level = LogLevel.Information, Message = "hypervisor-agent {Version} on {Hostname}, listening on {Address}, server {Server}")]
    public static partial void Starting(ILogger logger, string version, string hostname, HostPort address, HostPort server);

    [LoggerMessage(Level = LogLevel.Warning, Message = "insecure: true - calls between server and agent are not encrypted, and other machines can reach this agent")]
    public static partial void Insecure(ILogger logger);
}
