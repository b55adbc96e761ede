using dotnet_etcd.interfaces;
using Grpc.Core;

namespace Hypervisor.Server.Stores.Etcd;

/// <summary>A call that etcd answered with an error that its caller may know what to do about.</summary>
internal sealed class EtcdRefusedException(EtcdFailure failure) : Exception(failure.Message, failure.Cause)
{
    public EtcdFailureKind Kind => failure.Kind;
}

/// <summary>
/// Every call to etcd: its deadline, its token, and which member gets it. A call whose outcome is unknown is repeated only if
/// it may be; one that reached nobody is always.
/// </summary>
internal sealed class EtcdCalls(EtcdEndpoints endpoints, EtcdTokens tokens, TimeProvider time)
{
    /// <summary>etcd ends a stream at a member that has lost its leader; without it the stream would stand still.</summary>
    private static readonly Metadata.Entry RequireLeader = new("hasleader", "true");

    public int EndpointCount => endpoints.Count;

    /// <summary>For calls that may be repeated.</summary>
    /// <exception cref="StoreUnavailableException">No member answered.</exception>
    /// <exception cref="EtcdRefusedException">Compacted, Future or LeaseGone.</exception>
    public Task<T> ReadAsync<T>(Func<IConnection, CallOptions, AsyncUnaryCall<T>> call, CancellationToken cancellationToken) =>
        RepeatAsync(
            (endpoint, options) => UnaryAsync(endpoint, options, call), repeatable: true, Limits.Etcd.CallDeadline, cancellationToken);

    /// <summary>For calls that may not be repeated once a member may have got them.</summary>
    /// <inheritdoc cref="ReadAsync"/>
    public Task<T> WriteAsync<T>(Func<IConnection, CallOptions, AsyncUnaryCall<T>> call, CancellationToken cancellationToken) =>
        RepeatAsync(
            (endpoint, options) => UnaryAsync(endpoint, options, call), repeatable: false, Limits.Etcd.CallDeadline, cancellationToken);

    /// <summary>For an exchange of some messages that may be repeated as a whole.</summary>
    /// <inheritdoc cref="ReadAsync"/>
    public Task<T> ExchangeAsync<T>(
        Func<EtcdEndpoint, CallOptions, Task<T>> exchange, TimeSpan deadline, CancellationToken cancellationToken) =>
        RepeatAsync(exchange, repeatable: true, deadline, cancellationToken);

    /// <summary>Opens a stream at the current member; it lives until <paramref name="ending"/>.</summary>
    public async Task<(EtcdEndpoint Endpoint, TStream Stream)> OpenAsync<TStream>(
        Func<IConnection, CallOptions, TStream> open, CancellationToken ending, CancellationToken cancellationToken)
    {
        var endpoint = endpoints.Current;
        try
        {
            using var attempt = new CancellationTokenSource(Limits.Etcd.AttemptDeadline, time);
            using var linked = CancellationTokenSource.CreateLinkedTokenSource(attempt.Token, cancellationToken);
            var token = await tokens.GetAsync(endpoint, linked.Token);
            return (endpoint, open(endpoint.Connection, Options(token, streaming: true, ending)));
        }
        catch (Exception exception) when (IsFailure(exception) && !cancellationToken.IsCancellationRequested)
        {
            throw Broken(endpoint, exception).ToUnavailable();
        }
    }

    /// <summary>A stream broke: the next one goes elsewhere, with a fresh token if that was the reason.</summary>
    public EtcdFailure Broken(EtcdEndpoint endpoint, Exception exception)
    {
        var failure = EtcdFailure.Of(endpoint.Address, exception);
        if (failure.Kind == EtcdFailureKind.TokenRefused)
        {
            tokens.Forget(tokens.Known);
        }
        else
        {
            endpoints.MoveOn(endpoint);
        }

        return failure;
    }

    public static bool IsFailure(Exception exception) => exception is RpcException or OperationCanceledException or IOException;

    private static async Task<T> UnaryAsync<T>(
        EtcdEndpoint endpoint, CallOptions options, Func<IConnection, CallOptions, AsyncUnaryCall<T>> call)
    {
        using var pending = call(endpoint.Connection, options);
        return await pending.ResponseAsync;
    }

    private static CallOptions Options(string? token, bool streaming, CancellationToken cancellationToken)
    {
        if (token is null && !streaming)
        {
            return new CallOptions(cancellationToken: cancellationToken);
        }

        var headers = new Metadata();
        if (token is not null)
        {
            headers.Add("token", token);
        }

        if (streaming)
        {
            headers.Add(RequireLeader);
        }

        return new CallOptions(headers, cancellationToken: cancellationToken);
    }

    private async Task<T> RepeatAsync<T>(
        Func<EtcdEndpoint, CallOptions, Task<T>> call, bool repeatable, TimeSpan deadline, CancellationToken cancellationToken)
    {
        using var all = new CancellationTokenSource(deadline, time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(all.Token, cancellationToken);
        EtcdFailure? before = null;
        while (true)
        {
            cancellationToken.ThrowIfCancellationRequested();
            var endpoint = endpoints.Current;
            string? token = null;
            EtcdFailure failure;
            try
            {
                using var attempt = new CancellationTokenSource(Limits.Etcd.AttemptDeadline, time);
                using var linked = CancellationTokenSource.CreateLinkedTokenSource(attempt.Token, either.Token);
                token = await tokens.GetAsync(endpoint, linked.Token);
                return await call(endpoint, Options(token, streaming: false, linked.Token));
            }
            catch (Exception exception) when (IsFailure(exception))
            {
                cancellationToken.ThrowIfCancellationRequested();
                failure = EtcdFailure.Of(endpoint.Address, exception);
            }

            // The attempt that our own deadline cut short says less than the one before it.
            failure = all.IsCancellationRequested && repeatable && before is not null ? before : failure;
            before = failure;
            switch (failure.Kind)
            {
                case EtcdFailureKind.TokenRefused:
                    tokens.Forget(token);
                    break;
                case EtcdFailureKind.Unreached or EtcdFailureKind.Unknown:
                    endpoints.MoveOn(endpoint);
                    break;
                case EtcdFailureKind.Compacted or EtcdFailureKind.Future or EtcdFailureKind.LeaseGone:
                    throw new EtcdRefusedException(failure);
            }

            if (all.IsCancellationRequested
                || failure.Kind == EtcdFailureKind.Refused || (failure.Kind == EtcdFailureKind.Unknown && !repeatable))
            {
                throw failure.ToUnavailable();
            }

            try
            {
                await Task.Delay(Limits.Etcd.RetryPause, time, either.Token);
            }
            catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
            {
                throw failure.ToUnavailable();
            }
        }
    }
}
