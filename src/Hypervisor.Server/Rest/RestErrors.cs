using Google.Rpc;
using Grpc.Core;
using Hypervisor.Server.Api.Errors;
using HttpResponse = Microsoft.AspNetCore.Http.HttpResponse;

namespace Hypervisor.Server.Rest;

/// <summary>Errors as JSON: google.rpc.Status, with the same details as over gRPC.</summary>
internal static class RestErrors
{
    /// <summary>As google/rpc/code.proto maps them.</summary>
    public static int HttpStatus(Code code) => code switch
    {
        Code.Ok => StatusCodes.Status200OK,
        Code.Cancelled => StatusCodes.Status499ClientClosedRequest,
        Code.InvalidArgument or Code.FailedPrecondition or Code.OutOfRange => StatusCodes.Status400BadRequest,
        Code.Unauthenticated => StatusCodes.Status401Unauthorized,
        Code.PermissionDenied => StatusCodes.Status403Forbidden,
        Code.NotFound => StatusCodes.Status404NotFound,
        Code.AlreadyExists or Code.Aborted => StatusCodes.Status409Conflict,
        Code.ResourceExhausted => StatusCodes.Status429TooManyRequests,
        Code.Unimplemented => StatusCodes.Status501NotImplemented,
        Code.Unavailable => StatusCodes.Status503ServiceUnavailable,
        Code.DeadlineExceeded => StatusCodes.Status504GatewayTimeout,
        _ => StatusCodes.Status500InternalServerError,
    };

    public static Google.Rpc.Status StatusOf(RpcException exception) =>
        exception.GetRpcStatus() ?? new() { Code = (int)exception.StatusCode, Message = exception.Status.Detail };

    /// <summary>An answer of its own.</summary>
    /// <param name="httpStatus">When HTTP says it more exactly than the code does.</param>
    public static Task WriteAsync(HttpResponse response, Google.Rpc.Status status, int? httpStatus = null)
    {
        response.StatusCode = httpStatus ?? HttpStatus((Code)status.Code);
        response.ContentType = "application/json; charset=utf-8";
        if (status.Details.FirstOrDefault(detail => detail.Is(RetryInfo.Descriptor)) is { } retry)
        {
            var seconds = Math.Ceiling(retry.Unpack<RetryInfo>().RetryDelay.ToTimeSpan().TotalSeconds);
            response.Headers.RetryAfter = Math.Max(1, seconds).ToString(System.Globalization.CultureInfo.InvariantCulture);
        }

        if (response.StatusCode == StatusCodes.Status401Unauthorized)
        {
            response.Headers.WWWAuthenticate = "Bearer";
        }

        return response.WriteAsync(ProtoJson.Text(status) + "\n");
    }

    /// <summary>The last line of a stream that did not end well.</summary>
    public static string Line(Google.Rpc.Status status) => $"{{ \"error\": {ProtoJson.Text(status)} }}\n";

    public static RpcException NoSuchPath(string verb, string path) => ApiErrors.Error(
        Code.NotFound, $"There is no method at {verb} {Api.Validation.Printable.Quote(path)}; /docs lists all.");

    public static RpcException NoSuchVerb(string verb, string path, IReadOnlyList<string> allowed) => ApiErrors.Error(
        Code.Unimplemented, $"{Api.Validation.Printable.Quote(path)} takes {string.Join(", ", allowed)}, not {Api.Validation.Printable.Quote(verb)}.");
}
