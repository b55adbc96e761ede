using Grpc.Core;

namespace Hypervisor.Server.Api;

/// <summary>The authorization header of a call.</summary>
internal static class GrpcAuthorization
{
    public static string? Of(ServerCallContext context) => context.RequestHeaders.GetValue("authorization");
}
