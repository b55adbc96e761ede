using System.Collections.Concurrent;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace Hypervisor.Tests.Server.Images.Downloads;

/// <summary>A web server on a loopback port of its own: files, and whatever else a test wants it to do.</summary>
internal sealed class FileServer : IAsyncDisposable
{
    private readonly WebApplication _app;

    private FileServer(WebApplication app)
    {
        _app = app;
        Authority = new Uri(app.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!.Addresses.Single()).Authority;
    }

    /// <summary>"127.0.0.1:12345"</summary>
    public string Authority { get; }

    public int Port => int.Parse(Authority.Split(':')[1], System.Globalization.CultureInfo.InvariantCulture);

    /// <summary>By path: "/disk".</summary>
    public Dictionary<string, Func<HttpContext, Task>> Answers { get; } = [];

    /// <summary>Path and Range of each request.</summary>
    public ConcurrentQueue<(string Path, string Range)> Requests { get; } = [];

    public Uri this[string path] => new($"http://{Authority}{path}");

    public static async Task<FileServer> StartAsync()
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.ConfigureKestrel(kestrel => kestrel.Listen(System.Net.IPAddress.Loopback, 0));
        var app = builder.Build();
        var server = new TaskCompletionSource<FileServer>();
        app.Run(async context => await (await server.Task).AnswerAsync(context));
        await app.StartAsync();
        server.SetResult(new FileServer(app));
        return await server.Task;
    }

    /// <summary>A file as web servers have them, with ranges.</summary>
    public void AddFile(string path, byte[] content) =>
        Answers[path] = context => Results.Bytes(content, enableRangeProcessing: true).ExecuteAsync(context);

    public void AddRedirect(string path, string target) => Answers[path] = context =>
    {
        (context.Response.StatusCode, context.Response.Headers.Location) = (StatusCodes.Status302Found, target);
        return Task.CompletedTask;
    };

    public async ValueTask DisposeAsync()
    {
        using var now = new CancellationTokenSource();
        await now.CancelAsync();
        await _app.StopAsync(now.Token);
        await _app.DisposeAsync();
    }

    private async Task AnswerAsync(HttpContext context)
    {
        Requests.Enqueue((context.Request.Path, context.Request.Headers.Range.ToString()));
        if (Answers.TryGetValue(context.Request.Path, out var answer))
        {
            await answer(context);
        }
        else
        {
            context.Response.StatusCode = StatusCodes.Status404NotFound;
        }
    }
}
