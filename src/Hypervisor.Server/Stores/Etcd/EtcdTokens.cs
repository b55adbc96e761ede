using Etcdserverpb;
using Grpc.Core;
using Hypervisor.Server.Configuration;

namespace Hypervisor.Server.Stores.Etcd;

/// <summary>
/// The token that a user name and password were exchanged for. All members know it; it is fetched again when one refuses it,
/// which etcd does before anything else, so that nothing has happened by then.
/// </summary>
internal sealed class EtcdTokens(EtcdConfiguration configuration) : IDisposable
{
    private readonly SemaphoreSlim _fetching = new(1);
    private string? _token;

    /// <summary>The one in use; null when there is none.</summary>
    public string? Known => Volatile.Read(ref _token);

    /// <summary>Null where no user is configured.</summary>
    /// <exception cref="RpcException">It could not be fetched.</exception>
    public async ValueTask<string?> GetAsync(EtcdEndpoint endpoint, CancellationToken cancellationToken)
    {
        if (configuration.Username is null || Volatile.Read(ref _token) is not null)
        {
            return _token;
        }

        await _fetching.WaitAsync(cancellationToken);
        try
        {
            if (_token is null)
            {
                var request = new AuthenticateRequest { Name = configuration.Username, Password = configuration.Password.Reveal() };
                using var call = endpoint.Connection.AuthClient.AuthenticateAsync(
                    request, new CallOptions(cancellationToken: cancellationToken));
                Volatile.Write(ref _token, (await call.ResponseAsync).Token);
            }

            return _token;
        }
        finally
        {
            _fetching.Release();
        }
    }

    /// <summary>A member refused this one.</summary>
    public void Forget(string? token) => Interlocked.CompareExchange(ref _token, null, token);

    public void Dispose() => _fetching.Dispose();
}
