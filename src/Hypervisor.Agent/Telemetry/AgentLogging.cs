using Hypervisor.Hosting.Configuration;
using Microsoft.Extensions.Logging.Console;

namespace Hypervisor.Agent.Telemetry;

internal static class AgentLogging
{
    private const string Time = "yyyy-MM-ddTHH:mm:ss.fffZ";

    /// <summary>One line or one JSON object per message, with the trace of the API call that it belongs to, where there is one.</summary>
    public static void AddAgentLogging(this ILoggingBuilder logging, LogLevel level, LogStyle format)
    {
        logging.SetMinimumLevel(level)
            .AddFilter("Microsoft", LogLevel.Warning)
            .AddFilter("Grpc", LogLevel.Warning)

            // As in the server: how strangers misuse their own connections would be a flood of lines for each flood of theirs.
            .AddFilter("Microsoft.AspNetCore.Server.Kestrel.Http2", LogLevel.None)
            .AddFilter("Grpc.AspNetCore.Server.ServerCallHandler", LogLevel.None)

            // What keeps the host from starting is said by the program itself, without a stack trace.
            .AddFilter("Microsoft.Extensions.Hosting", LogLevel.None)
            .Configure(options => options.ActivityTrackingOptions = ActivityTrackingOptions.TraceId);
        if (format == LogStyle.Json)
        {
            logging.AddJsonConsole(options =>
            {
                options.IncludeScopes = true;
                options.UseUtcTimestamp = true;
                options.TimestampFormat = Time;
            });
            return;
        }

        logging.AddSimpleConsole(options =>
        {
            options.SingleLine = true;
            options.IncludeScopes = true;
            options.UseUtcTimestamp = true;
            options.TimestampFormat = Time + " ";
            options.ColorBehavior = LoggerColorBehavior.Disabled;
        });
    }
}
