using System.Net;
using Hypervisor.Hosting.Configuration;
using Hypervisor.Server.Configuration;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Server.Kestrel.Core;

namespace Hypervisor.Server;

/// <summary>Where and how the server listens.</summary>
internal static class KestrelSetup
{
    public static void ListenOn(this KestrelServerOptions kestrel, ServerConfiguration configuration)
    {
        kestrel.AddServerHeader = false;
        kestrel.Limits.MaxConcurrentConnections = Limits.Server.Connections;
        kestrel.Limits.Http2.MaxStreamsPerConnection = Limits.Server.StreamsPerConnection;
        kestrel.Limits.Http2.KeepAlivePingDelay = Limits.Server.KeepAlivePing;
        kestrel.Limits.Http2.KeepAlivePingTimeout = Limits.Server.KeepAliveTimeout;

        Listen(kestrel, "grpc_addr", configuration.GrpcAddress, HttpProtocols.Http2);
        Listen(kestrel, "http_addr", configuration.HttpAddress, HttpProtocols.Http1);
    }

    /// <summary>One line for a person whose port is taken.</summary>
    public static StartupException BusyPort(ServerConfiguration configuration, Exception exception)
    {
        if (exception.InnerException is not AddressInUseException)
        {
            return new($"cannot listen: {exception.Message}", exception);
        }

        var (key, address) = exception.Message.Contains($":{configuration.HttpAddress.Port}", StringComparison.Ordinal)
            ? ("http_addr", configuration.HttpAddress)
            : ("grpc_addr", configuration.GrpcAddress);
        return new(
            $"{key}: {address} is in use by another program; stop it (ss -ltnp 'sport = :{address.Port}' names it) or set {key} to a free port",
            exception);
    }

    private static void Listen(KestrelServerOptions kestrel, string key, HostPort address, HttpProtocols protocols)
    {
        if (address.Host.Length == 0)
        {
            kestrel.ListenAnyIP(address.Port, options => options.Protocols = protocols);
        }
        else if (IPAddress.TryParse(address.Host, out var ip))
        {
            kestrel.Listen(ip, address.Port, options => options.Protocols = protocols);
        }
        else if (address.IsLoopback && address.Port != 0)
        {
            kestrel.ListenLocalhost(address.Port, options => options.Protocols = protocols);
        }
        else
        {
            throw new StartupException($"{key}: {address} is not an address of this machine; give an IP address, localhost, or ':port' for all");
        }
    }
}
