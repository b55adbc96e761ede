using System.Net.Sockets;
using Grpc.Core;
using Grpc.Net.Client;
using Hypervisor.Hosting.Randomness;
using Hypervisor.Hosting.Waiting;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Ctl.Connection;

/// <summary>
/// One HTTP/2 connection to the server, opened by the first call. Unary calls are repeated while the server is unavailable;
/// that is safe because every mutation carries a request_id.
/// </summary>
internal sealed class ServerConnection : IDisposable
{
    private readonly GrpcChannel _channel;
    private readonly TimeProvider _time;
    private readonly IRandomSource _random;
    private bool _connected;

    public ServerConnection(ServerAddress address, TimeProvider time, IRandomSource random, bool streaming)
    {
        Address = address;
        _time = time;
        _random = random;
        var handler = new SocketsHttpHandler
        {
            // None of these has a place between this program and the server it was told to talk to.
            UseProxy = false,
            UseCookies = false,
            AllowAutoRedirect = false,
            ActivityHeadersPropagator = null,
            ConnectTimeout = Limits.ConnectTimeout,
            ConnectCallback = ConnectAsync,
        };
        if (streaming)
        {
            handler.KeepAlivePingDelay = Limits.KeepAliveDelay;
            handler.KeepAlivePingTimeout = Limits.KeepAliveTimeout;
            handler.KeepAlivePingPolicy = HttpKeepAlivePingPolicy.WithActiveRequests;
        }

        _channel = GrpcChannel.ForAddress(address.Uri, new GrpcChannelOptions
        {
            HttpHandler = handler,
            DisposeHttpClient = true,
            MaxReceiveMessageSize = Limits.LargestMessageBytes,
            ThrowOperationCanceledOnCancellation = true,
        });
        var invoker = _channel.CreateCallInvoker();
        Compute = new(invoker);
        Cluster = new(invoker);
        Groups = new(invoker);
    }

    public ServerAddress Address { get; }

    public ComputeService.ComputeServiceClient Compute { get; }

    public ClusterService.ClusterServiceClient Cluster { get; }

    public GroupService.GroupServiceClient Groups { get; }

    public void Dispose() => _channel.Dispose();

    /// <summary>Makes a unary call, again and again with growing pauses while the server is unavailable.</summary>
    /// <exception cref="RpcException">The server said no.</exception>
    /// <exception cref="ServerUnreachableException">No connection, or no answer in time.</exception>
    public async Task<T> CallAsync<T>(
        Func<CallOptions, AsyncUnaryCall<T>> call, CancellationToken cancellationToken, Action<Metadata>? headers = null)
    {
        var started = _time.GetTimestamp();
        for (var attempt = 0; ; attempt++)
        {
            using var timeout = new CancellationTokenSource(Limits.CallTimeout, _time);
            using var either = CancellationTokenSource.CreateLinkedTokenSource(timeout.Token, cancellationToken);
            try
            {
                using var active = call(new CallOptions(cancellationToken: either.Token));
                var answer = await active.ResponseAsync;
                headers?.Invoke(await active.ResponseHeadersAsync);
                _connected = true;
                return answer;
            }
            catch (RpcException exception) when (IsAway(exception))
            {
                var pause = Backoff.DelayAfter(attempt + 1, Limits.FirstBackoff, Limits.LongestBackoff, _random.NextUnit());
                if ((IsConnectFailure(exception) && !_connected) || _time.GetElapsedTime(started) + pause > Limits.RetryWindow)
                {
                    throw Unreachable(exception);
                }

                // From now on a refused connection is a server that is coming back, not one that was never there.
                _connected = true;
                await Task.Delay(pause, _time, cancellationToken);
            }
            catch (Exception exception) when (exception is OperationCanceledException or RpcException { StatusCode: StatusCode.Cancelled }
                && timeout.IsCancellationRequested && !cancellationToken.IsCancellationRequested)
            {
                throw new ServerUnreachableException(
                    $"The server at {Address} did not answer within {Limits.CallTimeout.TotalSeconds:0} s.", Address.ToString(), Address.Source);
            }
        }
    }

    /// <summary>Whether a failure means that the server is away rather than unwilling.</summary>
    public static bool IsAway(RpcException exception) =>
        exception.StatusCode == StatusCode.Unavailable
        || (exception.StatusCode == StatusCode.Internal && exception.Status.DebugException is HttpRequestException or IOException);

    public ServerUnreachableException Unreachable(RpcException exception)
    {
        if (exception.Status is { DebugException: null, Detail.Length: > 0 })
        {
            // It was reached, and says itself what it is waiting for.
            return new(exception.Status.Detail, Address.ToString(), Address.Source, exception) { Answered = true };
        }

        var cause = InnermostSocketError(exception.Status.DebugException) is { } error
            ? error switch
            {
                SocketError.ConnectionRefused => "connection refused",
                SocketError.HostNotFound or SocketError.NoData or SocketError.TryAgain => "its name is not known",
                SocketError.TimedOut => "connecting timed out",
                SocketError.NetworkUnreachable or SocketError.HostUnreachable => "no route to it",
                _ => error.ToString(),
            }
            : exception.Status.DebugException is { } debug ? debug.GetBaseException().Message : exception.Status.Detail;
        return new($"Could not reach the server at {Address}: {cause}.", Address.ToString(), Address.Source, exception);
    }

    private static bool IsConnectFailure(RpcException exception) =>
        exception.Status.DebugException is HttpRequestException { HttpRequestError: HttpRequestError.ConnectionError or HttpRequestError.NameResolutionError };

    private static SocketError? InnermostSocketError(Exception? exception)
    {
        for (; exception is not null; exception = exception.InnerException)
        {
            if (exception is SocketException socket)
            {
                return socket.SocketErrorCode;
            }
        }

        return null;
    }

    private static async ValueTask<Stream> ConnectAsync(SocketsHttpConnectionContext context, CancellationToken cancellationToken)
    {
        var socket = new Socket(SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        try
        {
            // An address needs no resolver, whose first use costs a thread and half a millisecond.
            if (System.Net.IPAddress.TryParse(context.DnsEndPoint.Host, out var ip))
            {
                await socket.ConnectAsync(new System.Net.IPEndPoint(ip, context.DnsEndPoint.Port), cancellationToken);
            }
            else
            {
                await socket.ConnectAsync(context.DnsEndPoint, cancellationToken);
            }

            return new NetworkStream(socket, ownsSocket: true);
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }
}
