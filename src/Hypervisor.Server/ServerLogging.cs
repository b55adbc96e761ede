using Hypervisor.Hosting.Configuration;
using Microsoft.Extensions.Logging.Console;

namespace Hypervisor.Server;

internal static class ServerLogging
{
    /// <summary>One line per message: for systemd's journal with its priorities, else with time and level for people.</summary>
    public static IServiceCollection AddServerLogging(this IServiceCollection services, LogLevel level, LogStyle format) => services.AddLogging(logging =>
    {
        logging.SetMinimumLevel(level);
        logging.AddFilter("Microsoft", level > LogLevel.Warning ? level : LogLevel.Warning);
        logging.AddFilter("Grpc", level > LogLevel.Warning ? level : LogLevel.Warning);

        // How a client misuses its own connection ends that connection and is nobody else's concern. Kestrel calls it critical, and
        // says it twenty times for one: a flood of stream resets would be a flood of these lines too.
        logging.AddFilter("Microsoft.AspNetCore.Server.Kestrel.Http2", LogLevel.None);

        // ErrorInterceptor tells what goes wrong in a method. What is left here are requests that are no protobuf, each an error with
        // its stack trace: the same flood by other means.
        logging.AddFilter("Grpc.AspNetCore.Server.ServerCallHandler", LogLevel.None);

        // What keeps the host from starting is told in one line by ServerRun.
        logging.AddFilter("Microsoft.Extensions.Hosting.Internal.Host", LogLevel.Critical);

        // What belongs to one call can be found by its trace, from here to the node.
        logging.Configure(options => options.ActivityTrackingOptions = ActivityTrackingOptions.TraceId);
        if (format == LogStyle.Json)
        {
            logging.AddJsonConsole(options =>
            {
                options.IncludeScopes = true;
                options.TimestampFormat = "yyyy-MM-ddTHH:mm:ss.fffZ";
                options.UseUtcTimestamp = true;
            });
            return;
        }

        // systemd sets JOURNAL_STREAM where it reads the output itself (systemd.exec(5)).
        if (Environment.GetEnvironmentVariable("JOURNAL_STREAM") is { Length: > 0 })
        {
            logging.AddSystemdConsole();
        }
        else
        {
            logging.AddSimpleConsole(options =>
            {
                options.SingleLine = true;
                options.TimestampFormat = "yyyy-MM-ddTHH:mm:ss.fffZ ";
                options.UseUtcTimestamp = true;
                options.ColorBehavior = LoggerColorBehavior.Disabled;
            });
        }
    });

    public static IServiceCollection AddHostedTask(
        this IServiceCollection services, string name, Func<IServiceProvider, Func<CancellationToken, Task>> run) =>
        services.AddSingleton<IHostedService>(provider => new HostedTask(
            name,
            run(provider),
            provider.GetRequiredService<IHostApplicationLifetime>(),
            provider.GetRequiredService<ILogger<HostedTask>>()));
}
