using System.Security.Authentication;
using Grpc.Core;

namespace Hypervisor.Server.Stores.Etcd;

/// <summary>What a failed attempt leaves known.</summary>
internal enum EtcdFailureKind
{
    /// <summary>The member never got the call.</summary>
    Unreached,

    /// <summary>It may have taken effect.</summary>
    Unknown,

    /// <summary>Nothing happened, since the token is not (or no longer) known.</summary>
    TokenRefused,

    /// <summary>Nothing happened, and the same call will be refused again until somebody does something.</summary>
    Refused,

    /// <summary>The revision is compacted.</summary>
    Compacted,

    /// <summary>The revision does not exist yet.</summary>
    Future,

    /// <summary>The lease ran out.</summary>
    LeaseGone,
}

/// <summary>
/// etcd's errors, told apart by code and text: the texts are its API (api/v3rpc/rpctypes/error.go), since one code stands for
/// many.
/// </summary>
internal sealed record EtcdFailure(EtcdFailureKind Kind, string Message, Exception Cause)
{
    public static EtcdFailure Of(Uri endpoint, Exception exception)
    {
        if (exception is not RpcException rpc || rpc.StatusCode is StatusCode.Cancelled or StatusCode.DeadlineExceeded)
        {
            return new(
                EtcdFailureKind.Unknown,
                $"etcd at {endpoint.Authority} did not answer in time: check that the member runs, and that it can reach the others.",
                exception);
        }

        var text = rpc.Status.Detail;
        if (rpc.StatusCode is StatusCode.Unavailable or StatusCode.Internal && Connecting(rpc) is { } reason)
        {
            return new(EtcdFailureKind.Unreached, $"etcd at {endpoint.Authority} cannot be reached: {reason}", exception);
        }

        return text switch
        {
            _ when Says("revision has been compacted") => new(EtcdFailureKind.Compacted, text, exception),
            _ when Says("future revision") => new(EtcdFailureKind.Future, text, exception),
            _ when Says("requested lease not found") => new(EtcdFailureKind.LeaseGone, text, exception),
            _ when rpc.StatusCode == StatusCode.Unauthenticated
                || Says("invalid auth token") || Says("revision of auth store is old") || Says("revision in header is old") => new(
                    EtcdFailureKind.TokenRefused, $"etcd at {endpoint.Authority} does not accept its own token: {text}", exception),
            _ when Says("database space exceeded") => new(
                EtcdFailureKind.Refused,
                "etcd is out of space and takes no writes: its database has reached --quota-backend-bytes. Defragment its members "
                + "(etcdctl defrag) or raise the quota, then clear the alarm (etcdctl alarm disarm).",
                exception),
            _ when Says("corrupt") => new(
                EtcdFailureKind.Refused,
                "etcd has raised its CORRUPT alarm and takes nothing: replace the corrupt member, then clear the alarm.", exception),
            _ when Says("user name is empty") => new(
                EtcdFailureKind.Refused, "etcd asks who we are: set etcd.username and etcd.password (or etcd.password_file).", exception),
            _ when Says("authentication failed") => new(
                EtcdFailureKind.Refused, "etcd does not accept etcd.username with its password: correct them.", exception),
            _ when Says("authentication is not enabled") => new(
                EtcdFailureKind.Refused,
                "etcd.username is given, but this etcd has no authentication: remove it, or enable authentication.", exception),
            _ when rpc.StatusCode == StatusCode.PermissionDenied => new(
                EtcdFailureKind.Refused,
                "etcd refuses this user: grant it read and write on all keys "
                + "(etcdctl role grant-permission ROLE --prefix=true readwrite '').",
                exception),
            _ when rpc.StatusCode == StatusCode.InvalidArgument => new(
                EtcdFailureKind.Refused,
                $"etcd refuses the call ({text}): its --max-txn-ops and --max-request-bytes may not be below the defaults.", exception),
            _ when Says("no leader") => new(
                EtcdFailureKind.Unknown,
                $"etcd at {endpoint.Authority} has no leader: a majority of its members has to run and reach each other.", exception),
            _ => new(EtcdFailureKind.Unknown, $"etcd at {endpoint.Authority} failed: {text}", exception),
        };

        bool Says(string words) => text.Contains(words, StringComparison.OrdinalIgnoreCase);
    }

    public StoreUnavailableException ToUnavailable() => new(Message, Cause, Kind == EtcdFailureKind.Refused);

    /// <summary>Why no connection could be made; null if there was one.</summary>
    private static string? Connecting(RpcException exception)
    {
        // Grpc.Net.Client's words when it could not open the socket; the call never left.
        if (exception.Status.Detail.StartsWith("Error connecting to subchannel", StringComparison.Ordinal))
        {
            return $"{(exception.Status.DebugException ?? exception).Message}; check etcd.endpoints and that the member runs.";
        }

        for (var cause = exception.Status.DebugException; cause is not null; cause = cause.InnerException)
        {
            switch (cause)
            {
                case AuthenticationException:
                    return $"TLS: {cause.Message} Check etcd.ca, etcd.cert and the name in etcd's certificate.";
                case HttpRequestException { HttpRequestError: HttpRequestError.NameResolutionError }:
                    return "its name cannot be resolved; check etcd.endpoints.";
                case HttpRequestException { HttpRequestError: HttpRequestError.ConnectionError }
                    when cause.InnerException is not AuthenticationException:
                    return $"{cause.Message}; check etcd.endpoints and that the member runs.";
                case HttpRequestException { HttpRequestError: HttpRequestError.SecureConnectionError } when cause.InnerException is null:
                    return $"TLS: {cause.Message}";
                case HttpRequestException { HttpRequestError: HttpRequestError.VersionNegotiationError }:
                    return "it does not speak HTTP/2 there; check whether it wants https.";
            }
        }

        return null;
    }
}
