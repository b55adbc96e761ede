using Grpc.Core;
using Hypervisor.Agent.Drivers;

namespace Hypervisor.Agent.Streams;

/// <summary>How what went wrong with a stream is told to the server: a status, and the reason for programs beside it.</summary>
internal static class StreamErrors
{
    public const string ReasonTrailer = "hypervisor-reason";

    public static RpcException Of(StatusCode code, string reason, string message) =>
        new(new Status(code, message), new Metadata { { ReasonTrailer, reason } });

    public static RpcException Of(DriverException failure) => Of(
        failure.Reason switch
        {
            "EpochMismatch" or "NotRunning" or "NoStdin" => StatusCode.FailedPrecondition,
            "PathNotFound" => StatusCode.NotFound,
            "RuntimeUnavailable" => StatusCode.Unavailable,
            "CopyTooLarge" => StatusCode.ResourceExhausted,
            _ when failure.Permanent => StatusCode.InvalidArgument,
            _ => StatusCode.FailedPrecondition,
        },
        failure.Reason,
        failure.Message);

    /// <summary>Turns what instances, drivers and file systems throw into what the server is told.</summary>
    public static async Task GuardAsync(Func<Task> work)
    {
        try
        {
            await work();
        }
        catch (DriverException failure)
        {
            throw Of(failure);
        }
        catch (RpcException failure) when (failure.Trailers.GetValue(ReasonTrailer) is null && failure.StatusCode != StatusCode.Cancelled)
        {
            // What a runtime said of a stream that was open already.
            throw Of(StatusCode.FailedPrecondition, "RuntimeFailed", $"the runtime refused: {failure.Status.Detail}");
        }
        catch (IOException failure) when (failure.HResult is > 0 and < 4096)
        {
            // An errno: of the instance's file system, not of the connection.
            throw Of(StatusCode.FailedPrecondition, "FileSystemRefused", $"the instance's file system refused: {failure.Message}");
        }
    }
}
