using Hypervisor.Server.Api.Errors;

namespace Hypervisor.Server.Rest;

/// <summary>
/// While nobody is authenticated, a page of any site that a user of this machine visits could send requests here: browsers say where
/// a request comes from, and only our own pages may.
/// </summary>
internal static class RequestOrigin
{
    /// <exception cref="Grpc.Core.RpcException">PERMISSION_DENIED for a request of another site's page.</exception>
    public static void Check(HttpRequest request)
    {
        var origin = request.Headers.Origin.ToString();
        if (origin.Length == 0)
        {
            return;
        }

        if (!Uri.TryCreate(origin, UriKind.Absolute, out var uri) || uri.Authority != request.Host.Value)
        {
            throw ApiErrors.Error(
                Google.Rpc.Code.PermissionDenied,
                $"Pages of {Api.Validation.Printable.Quote(origin)} may not call this server; call it from a page that it serves, or without Origin.");
        }
    }
}
