using Google.Protobuf.Reflection;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Server.Rest.Sockets;

/// <summary>Which WebSocket a path is.</summary>
/// <param name="Method">The gRPC method that it reaches.</param>
/// <param name="Query">What path and query are read into.</param>
internal sealed record SocketRoute(string Method, HttpBinding Binding, MessageDescriptor Query);

internal static class SocketRoutes
{
    /// <summary>Offered by the client and confirmed by the server.</summary>
    public const string Protocol = "v1.stream.hypervisor";

    /// <summary>The protocol, for people.</summary>
    public const string About =
        "A WebSocket with the sub-protocol " + Protocol + ". A binary message is the number of its channel in one byte, and data: 0 is standard "
        + "input, at most 64 KiB at once, from the client; 1 is standard output, also all of a terminal's, and 2 standard error, from the server. A "
        + "text message is JSON: a SocketControl from the client, a SocketNotice from the server, or {\"error\": …} with a google.rpc.Status.\n\n"
        + "The server closes with 1000 when the process has ended, for exec after {\"exit\": …}; with 1009 after a message that is too long; with "
        + "4000 and a google.rpc.Code after an error. Closing it, or breaking off, kills what exec began; what a console is attached to runs on. A "
        + "client that does not read holds the process back; one that answers no ping for a minute is cut off. Browsers' pages may open it from the "
        + "server's own address and from allowed_origins.";

    public const byte Input = 0;
    public const byte Output = 1;
    public const byte Error = 2;

    /// <summary>A close code of the server is this and a google.rpc.Code, for what came to an end by an error.</summary>
    public const int ErrorCodes = 4000;

    public static SocketRoute Exec { get; } = Route(nameof(ComputeService.ComputeServiceClient.Exec), "exec", ExecSocketRequest.Descriptor);

    public static SocketRoute Console { get; } = Route(nameof(ComputeService.ComputeServiceClient.AttachConsole), "console", ConsoleSocketRequest.Descriptor);

    public static SocketRoute Vnc { get; } = Route(nameof(ComputeService.ComputeServiceClient.AttachVnc), "vnc", VncSocketRequest.Descriptor);

    public static IReadOnlyList<SocketRoute> All { get; } = [Exec, Console, Vnc];

    private static SocketRoute Route(string method, string verb, MessageDescriptor query) => new(
        $"/{ComputeService.Descriptor.FullName}/{method}",
        new HttpBinding("GET", PathTemplate.Parse($"/v1/projects/{{project}}/instances/{{instance}}:{verb}"), HasBody: false)
        {
            MostParameters = Limits.Rest.SocketQueryParameters,
        },
        query);
}
