using System.Globalization;
using System.Net;
using System.Net.Sockets;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Instances.Health;

/// <summary>Checks over the node's network: a connection, or an HTTP request.</summary>
/// <remarks>
/// What answers is the user's: nothing of it is followed, kept, or read beyond the headers, of which there may be few.
/// </remarks>
internal sealed class NetworkHealthProbe : IHealthProbe, IDisposable
{
    private readonly HttpClient _http = new(new SocketsHttpHandler
    {
        AllowAutoRedirect = false,
        UseCookies = false,
        UseProxy = false,
        MaxResponseHeadersLength = Limits.HealthHeaderKibibytes,

        // Each check connects: one that answers on an old connection only is not working.
        PooledConnectionLifetime = TimeSpan.Zero,
    })
    {
        Timeout = Timeout.InfiniteTimeSpan,
    };

    public async Task<HealthResult?> CheckAsync(HealthTarget target, CancellationToken cancellationToken)
    {
        var check = target.Check;
        try
        {
            return check.CheckCase == HealthCheck.CheckOneofCase.Http
                ? await GetAsync(check.Http, target.Address, cancellationToken)
                : await ConnectAsync(check.Tcp.Port, target.Address, cancellationToken);
        }
        catch (SocketException exception)
        {
            return new HealthResult(false, $"{What(check)}: {exception.Message}");
        }
        catch (HttpRequestException exception)
        {
            return new HealthResult(false, $"{What(check)}: {exception.InnerException?.Message ?? exception.Message}");
        }
    }

    public void Dispose() => _http.Dispose();

    private async Task<HealthResult> GetAsync(HttpCheck check, string address, CancellationToken cancellationToken)
    {
        // A reason phrase is the instance's own text; the number says enough.
        using var response = await _http.GetAsync(
            new Uri(string.Create(CultureInfo.InvariantCulture, $"http://{address}:{check.Port}{check.Path}")),
            HttpCompletionOption.ResponseHeadersRead,
            cancellationToken);
        var status = (int)response.StatusCode;
        return new HealthResult(status is >= 200 and < 400, $"GET {check.Path} on port {check.Port} was answered with {status}");
    }

    private static async Task<HealthResult> ConnectAsync(int port, string address, CancellationToken cancellationToken)
    {
        using var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        await socket.ConnectAsync(IPAddress.Parse(address), port, cancellationToken);
        return new HealthResult(true, "");
    }

    private static string What(HealthCheck check) => check.CheckCase == HealthCheck.CheckOneofCase.Http
        ? $"GET {check.Http.Path} on port {check.Http.Port}"
        : $"connecting to port {check.Tcp.Port}";
}
