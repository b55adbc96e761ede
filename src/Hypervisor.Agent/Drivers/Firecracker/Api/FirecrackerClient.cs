using System.Net;
using System.Net.Sockets;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;

namespace Hypervisor.Agent.Drivers.Firecracker.Api;

/// <summary>Firecracker's HTTP API on its unix socket: one object per VMM, one call at a time.</summary>
/// <remarks>
/// Every call ends by <see cref="DriverException"/>: <see cref="Refused"/> with Firecracker's own words, or <see cref="Unavailable"/> when it
/// does not answer in time. It is a process of one guest, so what it says is bounded and cleaned before anybody sees it.
/// </remarks>
internal sealed class FirecrackerClient : IDisposable
{
    /// <summary>A reason.</summary>
    public const string Refused = "VmmRefused";

    /// <summary>A reason.</summary>
    public const string Unavailable = "RuntimeUnavailable";

    private static readonly FirecrackerJson Json = FirecrackerJson.Default;

    private readonly HttpClient _http;
    private readonly TimeProvider _time;

    /// <param name="connect">Gives a connection to the API socket.</param>
    public FirecrackerClient(Func<CancellationToken, Task<Stream>> connect, TimeProvider time)
    {
        _time = time;
        _http = new HttpClient(new SocketsHttpHandler
        {
            ConnectCallback = async (_, cancellationToken) => await connect(cancellationToken),
            UseProxy = false,
            UseCookies = false,
            AllowAutoRedirect = false,
            MaxConnectionsPerServer = 1,
        })
        {
            BaseAddress = new Uri("http://localhost/"),
            Timeout = Timeout.InfiniteTimeSpan,
            MaxResponseContentBufferSize = FirecrackerLimits.AnswerBytes,
        };
    }

    public Task<InstanceInfo> DescribeAsync(CancellationToken cancellationToken) => GetAsync("/", Json.InstanceInfo, cancellationToken);

    public async Task<string> VersionAsync(CancellationToken cancellationToken) =>
        (await GetAsync("/version", Json.VersionInfo, cancellationToken)).FirecrackerVersion;

    public Task LogAsync(LoggerBody body, CancellationToken cancellationToken) => PutAsync("/logger", body, Json.LoggerBody, cancellationToken);

    public Task MeasureAsync(MetricsBody body, CancellationToken cancellationToken) =>
        PutAsync("/metrics", body, Json.MetricsBody, cancellationToken);

    public Task ConfigureAsync(MachineConfigurationBody body, CancellationToken cancellationToken) =>
        PutAsync("/machine-config", body, Json.MachineConfigurationBody, cancellationToken);

    public Task BootFromAsync(BootSourceBody body, CancellationToken cancellationToken) =>
        PutAsync("/boot-source", body, Json.BootSourceBody, cancellationToken);

    public Task AddDriveAsync(DriveBody body, CancellationToken cancellationToken) =>
        PutAsync($"/drives/{body.DriveId}", body, Json.DriveBody, cancellationToken);

    public Task UpdateDriveAsync(PartialDriveBody body, CancellationToken cancellationToken) =>
        SendAsync(HttpMethod.Patch, $"/drives/{body.DriveId}", body, Json.PartialDriveBody, FirecrackerLimits.Call, cancellationToken);

    public Task AddNetworkInterfaceAsync(NetworkInterfaceBody body, CancellationToken cancellationToken) =>
        PutAsync($"/network-interfaces/{body.IfaceId}", body, Json.NetworkInterfaceBody, cancellationToken);

    public Task AddVsockAsync(VsockBody body, CancellationToken cancellationToken) => PutAsync("/vsock", body, Json.VsockBody, cancellationToken);

    public Task AddBalloonAsync(BalloonBody body, CancellationToken cancellationToken) =>
        PutAsync("/balloon", body, Json.BalloonBody, cancellationToken);

    public Task InflateBalloonAsync(BalloonUpdateBody body, CancellationToken cancellationToken) =>
        SendAsync(HttpMethod.Patch, "/balloon", body, Json.BalloonUpdateBody, FirecrackerLimits.Call, cancellationToken);

    public Task AddEntropyAsync(EntropyBody body, CancellationToken cancellationToken) =>
        PutAsync("/entropy", body, Json.EntropyBody, cancellationToken);

    public Task ActAsync(string action, CancellationToken cancellationToken) =>
        SendAsync(HttpMethod.Put, "/actions", new ActionBody(action), Json.ActionBody, FirecrackerLimits.Start, cancellationToken);

    public Task SetStateAsync(string state, CancellationToken cancellationToken) =>
        SendAsync(HttpMethod.Patch, "/vm", new VmStateBody(state), Json.VmStateBody, FirecrackerLimits.Call, cancellationToken);

    public Task CreateSnapshotAsync(SnapshotCreateBody body, TimeSpan deadline, CancellationToken cancellationToken) =>
        SendAsync(HttpMethod.Put, "/snapshot/create", body, Json.SnapshotCreateBody, deadline, cancellationToken);

    public Task LoadSnapshotAsync(SnapshotLoadBody body, CancellationToken cancellationToken) =>
        SendAsync(HttpMethod.Put, "/snapshot/load", body, Json.SnapshotLoadBody, FirecrackerLimits.Start, cancellationToken);

    public void Dispose() => _http.Dispose();

    private Task PutAsync<T>(string path, T body, JsonTypeInfo<T> type, CancellationToken cancellationToken) =>
        SendAsync(HttpMethod.Put, path, body, type, FirecrackerLimits.Call, cancellationToken);

    private async Task SendAsync<T>(
        HttpMethod method, string path, T body, JsonTypeInfo<T> type, TimeSpan deadline, CancellationToken cancellationToken)
    {
        // An array, not a stream: Firecracker reads a length, not chunks.
        var content = new ByteArrayContent(JsonSerializer.SerializeToUtf8Bytes(body, type));
        content.Headers.ContentType = new("application/json");
        using var request = new HttpRequestMessage(method, path) { Content = content };
        await AskAsync(request, deadline, cancellationToken);
    }

    private async Task<T> GetAsync<T>(string path, JsonTypeInfo<T> type, CancellationToken cancellationToken)
    {
        using var request = new HttpRequestMessage(HttpMethod.Get, path);
        var text = await AskAsync(request, FirecrackerLimits.Look, cancellationToken);
        try
        {
            return JsonSerializer.Deserialize(text, type) ?? throw new JsonException("null");
        }
        catch (JsonException error)
        {
            throw new DriverException(
                Unavailable, $"firecracker's answer to GET {path} is not what its contract says: {Clean(text)}", permanent: false, error);
        }
    }

    private async Task<string> AskAsync(HttpRequestMessage request, TimeSpan deadline, CancellationToken cancellationToken)
    {
        var what = $"{request.Method} {request.RequestUri}";
        using var patience = new CancellationTokenSource(deadline, _time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(patience.Token, cancellationToken);
        try
        {
            using var response = await _http.SendAsync(request, either.Token);
            var text = await response.Content.ReadAsStringAsync(either.Token);
            return response.StatusCode is HttpStatusCode.OK or HttpStatusCode.NoContent
                ? text
                : throw new DriverException(Refused, $"firecracker refused {what}: {FaultOf(text)}", permanent: false);
        }
        catch (Exception error) when (error is HttpRequestException or IOException or SocketException)
        {
            cancellationToken.ThrowIfCancellationRequested();
            throw new DriverException(
                Unavailable, $"firecracker cannot be asked {what}: {(error.InnerException ?? error).Message}", permanent: false, error);
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            throw new DriverException(
                Unavailable, $"firecracker did not answer {what} within {deadline.TotalSeconds:0.#} s", permanent: false);
        }
    }

    private static string FaultOf(string text)
    {
        try
        {
            return Clean(JsonSerializer.Deserialize(text, Json.Fault)?.FaultMessage ?? text);
        }
        catch (JsonException)
        {
            return Clean(text);
        }
    }

    private static string Clean(string text) =>
        string.Concat(text.Take(FirecrackerLimits.MessageCharacters).Select(character => char.IsControl(character) ? ' ' : character)).Trim();
}
