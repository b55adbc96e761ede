using System.Net;
using Hypervisor.Server.Api.Errors;

namespace Hypervisor.Server.Rest;

/// <summary>
/// While nobody is authenticated, a page of any site that a user of this machine visits could send requests here, and open WebSockets,
/// which browsers let every page do: browsers say where a request comes from, and only our own pages may, and those that are configured.
/// </summary>
/// <remarks>
/// Our own are those at an address or at localhost. A name may be anybody's that leads here (DNS rebinding): then origin and host
/// agree as well, so a name has to be configured.
/// </remarks>
internal static class RequestOrigin
{
    /// <param name="allowed">Origins whose pages may call too.</param>
    /// <exception cref="Grpc.Core.RpcException">PERMISSION_DENIED for a request of another site's page.</exception>
    public static void Check(HttpRequest request, IReadOnlyList<Uri> allowed)
    {
        var origin = request.Headers.Origin.ToString();
        if (origin.Length == 0)
        {
            return;
        }

        if (!Uri.TryCreate(origin, UriKind.Absolute, out var uri) || !(IsOurs(uri, request) || allowed.Any(other => IsSame(other, uri))))
        {
            throw ApiErrors.Error(
                Google.Rpc.Code.PermissionDenied,
                $"Pages of {Api.Validation.Printable.Quote(origin)} may not call this server; list the origin in allowed_origins if they should.");
        }
    }

    private static bool IsOurs(Uri origin, HttpRequest request) =>
        origin.Authority == request.Host.Value && (origin.Host == "localhost" || IPAddress.TryParse(origin.Host, out _));

    private static bool IsSame(Uri one, Uri other) => one.Scheme == other.Scheme && one.Authority == other.Authority;
}
