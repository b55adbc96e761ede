using System.Text;
using Google.Rpc;
using Grpc.Core;
using Hypervisor.Server.Api.Errors;

namespace Hypervisor.Server.Api.Streams;

/// <summary>What an agent said, or that it said nothing, in the words of this API.</summary>
internal static class AgentErrors
{
    private const string ReasonTrailer = "hypervisor-reason";

    /// <remarks>An agent that is stopped or killed resets its streams as if it had been asked to: CANCELLED, without our having cancelled.</remarks>
    public static RpcException Translate(RpcException error, InstanceRoute route, CancellationToken cancellationToken)
    {
        if (cancellationToken.IsCancellationRequested)
        {
            return ApiErrors.Error(Code.Cancelled, "The call was cancelled or its deadline passed.");
        }

        if (error.Trailers.GetValue(ReasonTrailer) is { Length: > 0 } reason)
        {
            return ApiErrors.Error(
                (Code)(int)error.StatusCode,
                Sentence(route, error.Status.Detail),
                new ErrorInfo { Reason = UpperSnake(reason), Domain = ApiErrors.Domain },
                new ResourceInfo { ResourceType = "Instance", ResourceName = route.Instance.Name });
        }

        return error.StatusCode switch
        {
            StatusCode.Unauthenticated => ApiErrors.Unavailable(
                $"The agent on node '{route.Node.Name}' does not take this control plane's credential: it is registering anew.", Limits.Api.RetryUnavailable),
            StatusCode.Unimplemented => ApiErrors.Error(Code.Unimplemented, $"The agent on node '{route.Node.Name}' is too old for this; update it."),
            _ => ApiErrors.Unavailable(
                $"The agent on node '{route.Node.Name}' was not reached at {route.Node.Inventory?.AgentAddress}, or broke off.", Limits.Api.RetryUnavailable),
        };
    }

    /// <summary>Whether another attempt soon may go better, by itself.</summary>
    public static bool IsPassing(RpcException error) =>
        error.StatusCode is StatusCode.Unavailable or StatusCode.Unauthenticated or StatusCode.Internal or StatusCode.Cancelled
        || error.Trailers.GetValue(ReasonTrailer) is "InstanceNotHere" or "EpochMismatch";

    private static string Sentence(InstanceRoute route, string detail) =>
        $"Instance '{route.Instance.Name}' on node '{route.Node.Name}': {detail}{(detail.EndsWith('.') ? "" : ".")}";

    private static string UpperSnake(string camelCase)
    {
        var text = new StringBuilder();
        foreach (var character in camelCase)
        {
            text.Append(char.IsAsciiLetterUpper(character) && text.Length > 0 ? "_" : "").Append(char.ToUpperInvariant(character));
        }

        return text.ToString();
    }
}
