using System.Collections.Concurrent;
using System.Net;
using System.Net.Http.Headers;
using System.Net.Sockets;
using Hypervisor.TestCluster;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;

namespace Hypervisor.ClusterTests.Registries;

/// <summary>A request as it passed.</summary>
/// <param name="From">Where the answer was asked to begin.</param>
internal sealed record PassedRequest(string Path, long From)
{
    public bool IsBlob => Path.Contains("/blobs/", StringComparison.Ordinal);
}

/// <summary>The way to a registry, on the cluster's machine: as slow as a test wants, and cut where it wants.</summary>
internal sealed class RegistryProxy : IAsyncDisposable
{
    private const int PieceBytes = 64 << 10;

    private static readonly string[] _passed = ["Docker-Content-Digest", "Docker-Distribution-Api-Version", "WWW-Authenticate"];

    private readonly Socket _socket;
    private readonly WebApplication _app;
    private readonly HttpMessageInvoker _upstream;
    private readonly int _port;
    private int _together;
    private int _mostTogether;

    private RegistryProxy(Socket socket, WebApplication app, HttpMessageInvoker upstream, int listens, int port)
    {
        (_socket, _app, _upstream, _port) = (socket, app, upstream, port);
        Name = $"localhost:{listens}";
    }

    /// <summary>As in image names.</summary>
    public string Name { get; }

    public ConcurrentQueue<PassedRequest> Requests { get; } = new();

    /// <summary>After each piece of 64 KiB of a blob; zero is as fast as it goes.</summary>
    public TimeSpan Pause { get; set; }

    /// <summary>Of a blob by its size: at which of its bytes the answer breaks off. Asked for each answer; null lets it pass.</summary>
    public Func<long, long?> Cut { get; set; } = _ => null;

    /// <summary>Blobs under way at one moment, at most, so far.</summary>
    public int MostTogether => Volatile.Read(ref _mostTogether);

    public static async Task<RegistryProxy> StartAsync(LocalCluster cluster, int listens, int port)
    {
        var socket = await Linux.ListenInsideAsync(cluster.NetworkNamespace, new IPEndPoint(IPAddress.Loopback, listens));
        var builder = WebApplication.CreateEmptyBuilder(new());
        builder.WebHost.UseKestrelCore().ConfigureKestrel(kestrel => kestrel.ListenHandle((ulong)socket.Handle));
        var app = builder.Build();
        var upstream = new HttpMessageInvoker(new SocketsHttpHandler
        {
            AllowAutoRedirect = false,
            ConnectCallback = async (_, _) => new NetworkStream(await cluster.ConnectAsync(new IPEndPoint(IPAddress.Loopback, port)), ownsSocket: true),
        });
        var proxy = new RegistryProxy(socket, app, upstream, listens, port);
        app.Run(proxy.PassAsync);
        await app.StartAsync();
        return proxy;
    }

    public async ValueTask DisposeAsync()
    {
        await _app.DisposeAsync();
        _upstream.Dispose();
        _socket.Dispose();
    }

    private async Task PassAsync(HttpContext context)
    {
        var range = context.Request.Headers.Range.ToString();
        var passed = new PassedRequest(context.Request.Path.Value!, RangeHeaderValue.TryParse(range, out var parsed) ? parsed.Ranges.Single().From ?? 0 : 0);
        using var request = new HttpRequestMessage(HttpMethod.Get, new Uri($"http://localhost:{_port}{context.Request.Path}{context.Request.QueryString}"));
        foreach (var name in (ReadOnlySpan<string>)["Accept", "Authorization", "Range"])
        {
            if (context.Request.Headers[name].ToString() is { Length: > 0 } value)
            {
                request.Headers.TryAddWithoutValidation(name, value);
            }
        }

        using var answer = await _upstream.SendAsync(request, context.RequestAborted);
        context.Response.StatusCode = (int)answer.StatusCode;
        context.Response.ContentLength = answer.Content.Headers.ContentLength;
        context.Response.ContentType = answer.Content.Headers.ContentType?.ToString();
        context.Response.Headers.ContentRange = answer.Content.Headers.ContentRange?.ToString();
        foreach (var name in _passed)
        {
            if (answer.Headers.TryGetValues(name, out var values))
            {
                context.Response.Headers[name] = values.ToArray();
            }
        }

        if (answer.StatusCode is HttpStatusCode.OK or HttpStatusCode.PartialContent)
        {
            Requests.Enqueue(passed);
        }

        await CopyAsync(context, answer, passed);
    }

    private async Task CopyAsync(HttpContext context, HttpResponseMessage answer, PassedRequest passed)
    {
        var counts = passed.IsBlob && answer.IsSuccessStatusCode;
        var from = answer.StatusCode == HttpStatusCode.PartialContent ? passed.From : 0;
        var end = from + (answer.Content.Headers.ContentLength ?? 0);
        var cut = counts ? Cut(end) ?? long.MaxValue : long.MaxValue;
        if (counts)
        {
            Count();
        }

        try
        {
            await using var body = await answer.Content.ReadAsStreamAsync(context.RequestAborted);
            var buffer = new byte[PieceBytes];
            for (var position = from; position < cut;)
            {
                var read = await body.ReadAsync(buffer, context.RequestAborted);
                if (read == 0)
                {
                    return;
                }

                var part = (int)Math.Min(read, cut - position);
                await context.Response.Body.WriteAsync(buffer.AsMemory(0, part), context.RequestAborted);
                await context.Response.Body.FlushAsync(context.RequestAborted);
                position += part;
                if (counts && Pause > TimeSpan.Zero)
                {
                    await Task.Delay(Pause, RealTime.Clock, context.RequestAborted);
                }
            }

            context.Abort();
        }
        finally
        {
            if (counts)
            {
                Interlocked.Decrement(ref _together);
            }
        }
    }

    private void Count()
    {
        var now = Interlocked.Increment(ref _together);
        for (var most = MostTogether; now > most; most = MostTogether)
        {
            Interlocked.CompareExchange(ref _mostTogether, now, most);
        }
    }
}
