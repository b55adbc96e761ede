using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Google.Rpc;
using Grpc.Core;
using Hypervisor.Protocol;

namespace Hypervisor.Server.Api.Errors;

/// <summary>
/// The errors that clients see. A message says what was wrong, with which value, and what to do; the details say it to programs.
/// </summary>
internal static class ApiErrors
{
    /// <summary>Domain of every ErrorInfo.</summary>
    public const string Domain = "hypervisor";

    public static RpcException InvalidArgument(IReadOnlyList<FieldViolation> violations)
    {
        var detail = new BadRequest();
        detail.FieldViolations.AddRange(violations.Select(violation => new BadRequest.Types.FieldViolation
        {
            Field = violation.Field,
            Description = violation.Description,
        }));
        var message = string.Join("; ", violations.Take(3).Select(violation => $"{violation.Field}: {violation.Description}"))
            + (violations.Count > 3 ? $"; and {violations.Count - 3} more" : "");
        return Error(Code.InvalidArgument, message, detail);
    }

    public static RpcException InvalidArgument(string field, string description) => InvalidArgument([new(field, description)]);

    /// <param name="kind">"Instance", "Node", "Image".</param>
    public static RpcException NotFound(string kind, string project, string name) => Error(
        Code.NotFound,
        project.Length == 0 ? $"{kind} '{name}' does not exist." : $"{kind} '{name}' does not exist in project '{project}'.",
        Resource(kind, name));

    public static RpcException AlreadyExists(string kind, string name, string message) => Error(Code.AlreadyExists, message, Resource(kind, name));

    /// <summary>A request_id came back with another request.</summary>
    public static RpcException RequestIdReused(string requestId) => Error(
        Code.AlreadyExists,
        $"request_id '{requestId}' was used for another request on this object; take a new one for each new request.",
        Info("REQUEST_ID_REUSED"));

    /// <param name="reason">UPPER_SNAKE_CASE, for programs.</param>
    public static RpcException FailedPrecondition(string reason, string message, string kind, string name) =>
        Error(Code.FailedPrecondition, message, Info(reason), Resource(kind, name));

    public static RpcException VersionMismatch(string kind, string name, long expected, ResourceVersion present) => Error(
        Code.Aborted,
        $"{kind} '{name}' has resource_version {present}, not {expected}: read it again and decide anew.",
        Info("RESOURCE_VERSION_MISMATCH"),
        Resource(kind, name));

    /// <summary>The caller should begin anew, not repeat the same call.</summary>
    public static RpcException Aborted(string reason, string message) => Error(Code.Aborted, message, Info(reason));

    public static RpcException OutOfRange(string reason, string message) => Error(Code.OutOfRange, message, Info(reason));

    public static RpcException ResourceExhausted(string message, TimeSpan retryAfter) =>
        Error(Code.ResourceExhausted, message, Retry(retryAfter));

    public static RpcException Unavailable(string message, TimeSpan retryAfter) => Error(Code.Unavailable, message, Retry(retryAfter));

    public static RpcException Error(Code code, string message, params ReadOnlySpan<IMessage> details)
    {
        var status = new Google.Rpc.Status { Code = (int)code, Message = message };
        foreach (var detail in details)
        {
            status.Details.Add(Any.Pack(detail));
        }

        return status.ToRpcException();
    }

    private static ErrorInfo Info(string reason) => new() { Reason = reason, Domain = Domain };

    private static ResourceInfo Resource(string kind, string name) => new() { ResourceType = kind, ResourceName = name };

    private static RetryInfo Retry(TimeSpan after) => new() { RetryDelay = Duration.FromTimeSpan(after) };
}

/// <param name="Field">Path in the request, for example "spec.disks[0].size_bytes".</param>
/// <param name="Description">What was wrong, with which value, and what would be right.</param>
internal readonly record struct FieldViolation(string Field, string Description);
