using Google.Protobuf;
using Google.Rpc;
using Grpc.Core;
using Hypervisor.Hosting.Randomness;
using Hypervisor.Server.Api.Instances.Updates;
using Hypervisor.Server.State;
using Hypervisor.Server.Stores;
using Microsoft.AspNetCore.Connections;

namespace Hypervisor.Server.Api.Errors;

/// <summary>
/// Turns whatever a service threw into what its client may see. The gRPC interceptor and the simulation's network use the same.
/// </summary>
internal sealed partial class ErrorTranslation(IRandomSource random, ILogger<ErrorTranslation> logger)
{
    /// <param name="method">For the log.</param>
    /// <param name="cancelled">Whether the client has gone or its deadline has passed.</param>
    public RpcException Translate(Exception exception, string method, bool cancelled) => exception switch
    {
        RpcException known => known,
        StoreBusyException busy => ApiErrors.ResourceExhausted(busy.Message, busy.RetryAfter),
        StoreUnavailableException unavailable => Unavailable(method, unavailable),
        NotLeadingException or ViewBehindException => ApiErrors.Unavailable(exception.Message, Limits.Api.RetryUnavailable),

        // The last is what a stream of gRPC throws that is written to after its client has gone.
        OperationCanceledException or IOException or InvalidOperationException when cancelled =>
            ApiErrors.Error(Code.Cancelled, "The call was cancelled or its deadline passed; what it asked for may still take effect."),

        // The client is gone, and its stream is told before its call is.
        IOException { InnerException: ConnectionAbortedException or ConnectionResetException } =>
            ApiErrors.Error(Code.Cancelled, "The connection of the call is gone; what it asked for may still take effect."),

        // Of a stream: what records of the store throw is a CorruptRecordException.
        InvalidProtocolBufferException => ApiErrors.Error(
            Code.InvalidArgument, "A message of the stream is no protobuf message of this method; check the client and what lies between."),
        _ => Unexpected(method, exception),
    };

    private RpcException Unavailable(string method, StoreUnavailableException exception)
    {
        LogUnavailable(logger, method, exception);
        return ApiErrors.Unavailable(
            exception.Refused
                ? $"The store refused the request; nothing happened. {exception.Message}"
                : "The store does not answer. Whether a change was made is unknown; repeat it with the same request_id.",
            Limits.Api.RetryUnavailable);
    }

    private RpcException Unexpected(string method, Exception exception)
    {
        var id = random.NewUid();
        LogUnexpected(logger, method, id, exception);
        return ApiErrors.Error(Code.Internal, $"The server failed on this request; its log explains it under {id}.");
    }

    [LoggerMessage(Level = LogLevel.Warning, Message = "{Method}: the store was unavailable")]
    private static partial void LogUnavailable(ILogger logger, string method, Exception exception);

    [LoggerMessage(Level = LogLevel.Error, Message = "{Method} failed unexpectedly ({Id})")]
    private static partial void LogUnexpected(ILogger logger, string method, string id, Exception exception);
}
