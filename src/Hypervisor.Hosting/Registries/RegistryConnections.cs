using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;

namespace Hypervisor.Hosting.Registries;

/// <summary>
/// Connections, kept apart by what they trust. Where a name leads is judged when it is connected to, so that a name that
/// changes its address in between gains nothing. No proxy, no cookies, no redirect followed on its own.
/// </summary>
/// <param name="remedy">What an operator does about a private address that is meant.</param>
internal sealed class RegistryConnections(string remedy = "an operator names it under registries: in the server's configuration") : IDisposable
{
    private readonly Lock _lock = new();

    /// <summary>By trust and authorities: as many as the configuration has different ones.</summary>
    private readonly Dictionary<(bool Trusted, string Authority), HttpMessageInvoker> _invokers = [];

    /// <exception cref="HttpRequestException"/>
    /// <exception cref="RegistryException">Refused, Untrusted (an authority that cannot be read).</exception>
    public Task<HttpResponseMessage> SendAsync(RegistryHost host, HttpRequestMessage request, CancellationToken cancellationToken) =>
        InvokerOf(host).SendAsync(request, cancellationToken);

    public void Dispose()
    {
        lock (_lock)
        {
            foreach (var invoker in _invokers.Values)
            {
                invoker.Dispose();
            }

            _invokers.Clear();
        }
    }

    private HttpMessageInvoker InvokerOf(RegistryHost host)
    {
        lock (_lock)
        {
            if (!_invokers.TryGetValue((host.Trusted, host.CertificateAuthority), out var invoker))
            {
                invoker = new HttpMessageInvoker(Handler(host));
                _invokers.Add((host.Trusted, host.CertificateAuthority), invoker);
            }

            return invoker;
        }
    }

    private SocketsHttpHandler Handler(RegistryHost host)
    {
        var handler = new SocketsHttpHandler
        {
            AllowAutoRedirect = false,
            UseCookies = false,
            UseProxy = false,
            AutomaticDecompression = DecompressionMethods.None,
            ConnectTimeout = RegistryLimits.Connect,
            MaxConnectionsPerServer = RegistryLimits.ConnectionsPerHost,
            PooledConnectionIdleTimeout = RegistryLimits.Stall,
            ConnectCallback = (context, cancellationToken) => ConnectAsync(context.DnsEndPoint, host.Trusted, cancellationToken),
        };
        if (host.CertificateAuthority.Length > 0)
        {
            var policy = new X509ChainPolicy { TrustMode = X509ChainTrustMode.CustomRootTrust, RevocationMode = X509RevocationMode.NoCheck };
            try
            {
                policy.CustomTrustStore.ImportFromPem(host.CertificateAuthority);
            }
            catch (CryptographicException exception)
            {
                throw new RegistryException(RegistryFailure.Untrusted, $"The authority configured for registry {host} is not a PEM certificate; correct ca.", exception);
            }

            handler.SslOptions = new SslClientAuthenticationOptions { CertificateChainPolicy = policy };
        }

        return handler;
    }

    private async ValueTask<Stream> ConnectAsync(DnsEndPoint endpoint, bool trusted, CancellationToken cancellationToken)
    {
        var addresses = IPAddress.TryParse(endpoint.Host, out var literal) ? [literal] : await Dns.GetHostAddressesAsync(endpoint.Host, cancellationToken);
        if (!trusted && Array.Find(addresses, address => !PublicAddresses.Contains(address)) is { } inside)
        {
            throw new RegistryException(
                RegistryFailure.Refused,
                $"{endpoint.Host} has the private address {inside}; if it is meant, {remedy}.");
        }

        SocketException? last = null;
        foreach (var address in addresses)
        {
            var socket = new Socket(address.AddressFamily, SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
            try
            {
                await socket.ConnectAsync(new IPEndPoint(address, endpoint.Port), cancellationToken);
                return new NetworkStream(socket, ownsSocket: true);
            }
            catch (SocketException exception)
            {
                socket.Dispose();
                last = exception;
            }
            catch
            {
                socket.Dispose();
                throw;
            }
        }

        throw last ?? new SocketException((int)SocketError.HostNotFound);
    }
}
