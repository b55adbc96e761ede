using Google.Protobuf.WellKnownTypes;
using Google.Rpc;
using Grpc.Core;
using Hypervisor.Hosting.Registries;
using Hypervisor.Server.Api.Errors;

namespace Hypervisor.Server.Images.Registries;

/// <summary>A registry's refusal as the status of a call.</summary>
internal static class RegistryErrors
{
    public static RpcException Translate(RegistryException exception, string image)
    {
        var resource = new ResourceInfo { ResourceType = "Image", ResourceName = image };
        var retry = new RetryInfo { RetryDelay = Duration.FromTimeSpan(exception.RetryAfter ?? Limits.Registries.FailureRemembered) };
        return exception.Failure switch
        {
            RegistryFailure.NotFound => ApiErrors.Error(Code.NotFound, exception.Message, resource),
            // Not UNAUTHENTICATED: that would speak of the caller's own credential.
            RegistryFailure.Unauthorized => ApiErrors.Error(Code.PermissionDenied, exception.Message, Reason("REGISTRY_UNAUTHORIZED"), resource),
            RegistryFailure.RateLimited => ApiErrors.Error(Code.ResourceExhausted, exception.Message, Reason("REGISTRY_RATE_LIMIT"), retry),
            RegistryFailure.Unavailable => ApiErrors.Error(Code.Unavailable, exception.Message, Reason("REGISTRY_UNAVAILABLE"), retry),
            RegistryFailure.Untrusted => ApiErrors.FailedPrecondition("REGISTRY_UNTRUSTED", exception.Message, "Image", image),
            RegistryFailure.Refused => ApiErrors.FailedPrecondition("REGISTRY_NOT_ALLOWED", exception.Message, "Image", image),
            _ => Invalid(exception.Message, image),
        };
    }

    /// <summary>Trying again brings the same.</summary>
    public static RpcException Invalid(string message, string image) =>
        ApiErrors.Error(Code.DataLoss, message, Reason("IMAGE_INVALID"), new ResourceInfo { ResourceType = "Image", ResourceName = image });

    private static ErrorInfo Reason(string reason) => new() { Reason = reason, Domain = ApiErrors.Domain };
}
