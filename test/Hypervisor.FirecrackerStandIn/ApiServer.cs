using System.Net.Sockets;
using System.Text.Json.Nodes;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Server.Kestrel.Transport.Sockets;
using Microsoft.Extensions.DependencyInjection;

namespace Hypervisor.FirecrackerStandIn;

/// <summary>The API on its unix socket.</summary>
internal sealed class ApiServer : IAsyncDisposable
{
    private const int BodyBytes = 51_200;

    private readonly WebApplication _application;

    private ApiServer(WebApplication application) => _application = application;

    /// <param name="seen">Told of each call, with its body, before it is answered.</param>
    public static async Task<ApiServer> StartAsync(string socketPath, Microvm machine, Action<string, string, string>? seen = null)
    {
        // Nothing of the environment, and nothing on the console, which is the guest's.
        var builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions { ApplicationName = "firecracker-stand-in" });
        builder.WebHost.UseKestrelCore().ConfigureKestrel(kestrel =>
        {
            kestrel.AddServerHeader = false;
            kestrel.Limits.MaxRequestBodySize = BodyBytes;
            kestrel.ListenUnixSocket(Path.GetFullPath("/api"));
        });

        // Bound as it was given: a relative path may be short where the absolute one is too long for a socket.
        builder.Services.Configure<SocketTransportOptions>(options => options.CreateBoundListenSocket = _ => Bind(socketPath));
        var application = builder.Build();
        application.Run(context => AnswerAsync(context, machine, seen));
        await application.StartAsync();
        return new ApiServer(application);
    }

    public async ValueTask DisposeAsync()
    {
        using var now = new CancellationTokenSource();
        await now.CancelAsync();
        await _application.StopAsync(now.Token);
        await _application.DisposeAsync();
    }

    private static Socket Bind(string path)
    {
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        socket.Bind(new UnixDomainSocketEndPoint(path));
        return socket;
    }

    private static async Task AnswerAsync(HttpContext context, Microvm machine, Action<string, string, string>? seen)
    {
        var (request, response) = (context.Request, context.Response);
        using var body = new MemoryStream();
        await request.Body.CopyToAsync(body);
        seen?.Invoke(request.Method, request.Path.Value ?? "", System.Text.Encoding.UTF8.GetString(body.ToArray()));
        JsonNode? answer;
        try
        {
            // Firecracker's server reads a length, and nothing else.
            answer = request.Headers.TransferEncoding.Count > 0
                ? throw new FaultException("Chunked bodies are not supported.")
                : await machine.CallAsync(request.Method, request.Path.Value + request.QueryString.Value, body.ToArray());
            response.StatusCode = answer is null ? StatusCodes.Status204NoContent : StatusCodes.Status200OK;
        }
        catch (FaultException fault)
        {
            response.StatusCode = StatusCodes.Status400BadRequest;
            answer = new JsonObject { ["fault_message"] = fault.Message };
        }
        catch (Exception error) when (error is IOException or SocketException)
        {
            response.StatusCode = StatusCodes.Status500InternalServerError;
            answer = new JsonObject { ["fault_message"] = error.Message };
        }

        response.Headers.Server = "Firecracker API";
        if (answer is not null)
        {
            response.ContentType = "application/json";
            await response.WriteAsync(answer.ToJsonString());
        }
    }
}
