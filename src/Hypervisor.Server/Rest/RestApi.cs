using System.Buffers;
using System.Text;
using Google.Protobuf;
using Google.Rpc;
using Grpc.Core;
using Hypervisor.Server.Api.Errors;
using Hypervisor.Server.Configuration;
using Hypervisor.Server.Rest.Requests;
using Hypervisor.Server.Telemetry;
using Microsoft.AspNetCore.Http.Features;

namespace Hypervisor.Server.Rest;

/// <summary>
/// The public API over HTTP/1.1: every unary and server-streaming method of ComputeService, GroupService and ClusterService, called in this process.
/// A stream is newline-delimited JSON, one message per line; when it ends by an error, the last line is <c>{"error": …}</c>.
/// </summary>
internal sealed class RestApi(
    RestRoutes routes, ServerConfiguration configuration, ErrorTranslation errors, IHostApplicationLifetime lifetime, TimeProvider time)
{
    private const string Json = "application/json; charset=utf-8";
    private const string JsonLines = "application/x-ndjson; charset=utf-8";

    public RestRoutes Routes => routes;

    /// <summary>Percent-encoded as it came, without the query.</summary>
    public static string PathOf(HttpContext http)
    {
        var target = http.Features.Get<IHttpRequestFeature>()!.RawTarget;
        return target.StartsWith('/') ? target.Split('?', 2)[0] : http.Request.Path.ToUriComponent();
    }

    public async Task HandleAsync(HttpContext http)
    {
        var path = PathOf(http);
        if (routes.Find(http.Request.Method, path, out var allowed) is not { } match)
        {
            await RefuseAsync(http, path, allowed);
            return;
        }

        // Watches would hold the shutdown until its deadline; they end at once, and their clients go elsewhere.
        using var ending = match.Method.Streams
            ? CancellationTokenSource.CreateLinkedTokenSource(http.RequestAborted, lifetime.ApplicationStopping)
            : CancellationTokenSource.CreateLinkedTokenSource(http.RequestAborted);
        var started = time.GetTimestamp();
        var code = StatusCode.OK;
        try
        {
            RequestOrigin.Check(http.Request, configuration.AllowedOrigins);
            var request = RequestReader.Read(match, http.Request.QueryString.Value ?? "", await BodyAsync(http, ending.Token));
            var context = new RestCallContext(http, match.Method.FullName, ending.Token);
            if (match.Method.Streams)
            {
                await StreamAsync(http, match.Method, request, context);
            }
            else
            {
                await match.Method.Handler(request, (answer, cancellationToken) => AnswerAsync(http, answer, cancellationToken), context);
            }
        }
        catch (BadHttpRequestException exception)
        {
            code = StatusCode.InvalidArgument;
            await RestErrors.WriteAsync(
                http.Response,
                RestErrors.StatusOf(ApiErrors.Error(Code.InvalidArgument, exception.Message)),
                exception.StatusCode);
        }
        catch (Exception) when (http.RequestAborted.IsCancellationRequested)
        {
            // Nobody is there to be told; the gRPC side logs such calls as little.
            code = StatusCode.Cancelled;
            http.Abort();
        }
#pragma warning disable CA1031 // What a method throws is translated, and logged when it was not meant.
        catch (Exception exception)
#pragma warning restore CA1031
        {
            code = await FailAsync(http, match.Method, exception);
        }
        finally
        {
            ServerInstruments.Called(match.Method.FullName, "rest", code, time.GetElapsedTime(started));
        }
    }

    private static Task RefuseAsync(HttpContext http, string path, IReadOnlyList<string> allowed)
    {
        if (allowed.Count == 0)
        {
            return RestErrors.WriteAsync(http.Response, RestErrors.StatusOf(RestErrors.NoSuchPath(http.Request.Method, path)));
        }

        http.Response.Headers.Allow = string.Join(", ", allowed);
        return RestErrors.WriteAsync(
            http.Response, RestErrors.StatusOf(RestErrors.NoSuchVerb(http.Request.Method, path, allowed)), StatusCodes.Status405MethodNotAllowed);
    }

    private static async Task<ReadOnlyMemory<byte>> BodyAsync(HttpContext http, CancellationToken cancellationToken)
    {
        if (http.Features.Get<IHttpRequestBodyDetectionFeature>() is { CanHaveBody: false })
        {
            return default;
        }

        http.Features.Get<IHttpMaxRequestBodySizeFeature>()!.MaxRequestBodySize = Limits.Rest.BodyBytes;
        using var body = new MemoryStream();
        await http.Request.Body.CopyToAsync(body, cancellationToken);
        if (body.Length > 0 && !http.Request.HasJsonContentType())
        {
            throw new BadHttpRequestException(
                "The body must be JSON: send Content-Type: application/json.", StatusCodes.Status415UnsupportedMediaType);
        }

        return body.GetBuffer().AsMemory(0, (int)body.Length);
    }

    private static async Task AnswerAsync(HttpContext http, IMessage answer, CancellationToken cancellationToken)
    {
        http.Response.ContentType = Json;
        ProtoJson.Write(answer, http.Response.BodyWriter);
        http.Response.BodyWriter.Write("\n"u8);
        await http.Response.BodyWriter.FlushAsync(cancellationToken);
    }

    private static async Task StreamAsync(HttpContext http, RestMethod method, IMessage request, ServerCallContext context)
    {
        http.Response.ContentType = JsonLines;
        http.Response.Headers.CacheControl = "no-store";

        // Proxies that collect answers would keep a watch's events to themselves.
        http.Response.Headers["X-Accel-Buffering"] = "no";
        await method.Handler(
            request,
            async (answer, cancellationToken) =>
            {
                ProtoJson.Write(answer, http.Response.BodyWriter);
                http.Response.BodyWriter.Write("\n"u8);
                await http.Response.BodyWriter.FlushAsync(cancellationToken);
            },
            context);
        await http.Response.StartAsync(context.CancellationToken);
    }

    private async Task<StatusCode> FailAsync(HttpContext http, RestMethod method, Exception exception)
    {
        var stopping = method.Streams && lifetime.ApplicationStopping.IsCancellationRequested && exception is OperationCanceledException;
        var known = stopping
            ? ApiErrors.Unavailable("The server is stopping; ask another one or try again.", Limits.Api.RetryUnavailable)
            : errors.Translate(exception, method.FullName, cancelled: false);
        if (!http.Response.HasStarted)
        {
            http.Response.Clear();
            await RestErrors.WriteAsync(http.Response, RestErrors.StatusOf(known));
        }
        else if (method.Streams)
        {
            await http.Response.WriteAsync(RestErrors.Line(RestErrors.StatusOf(known)), Encoding.UTF8);
        }
        else
        {
            http.Abort();
        }

        return known.StatusCode;
    }
}
