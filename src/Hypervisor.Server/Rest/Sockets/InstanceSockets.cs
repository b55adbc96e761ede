using System.Net.WebSockets;
using Google.Protobuf;
using Grpc.Core;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Errors;
using Hypervisor.Server.Api.Streams;
using Hypervisor.Server.Api.Validation;
using Hypervisor.Server.Configuration;
using Hypervisor.Server.Rest.Requests;
using Hypervisor.Server.Telemetry;
using ComputeService = Hypervisor.Server.Api.ComputeService;

namespace Hypervisor.Server.Rest.Sockets;

/// <summary>
/// Exec, console and display for browsers: a WebSocket in front of the methods that gRPC calls, in this process. What can be refused before the
/// stream begins is refused as an HTTP answer.
/// </summary>
internal sealed class InstanceSockets(
    ComputeService compute,
    InstanceRoutes instances,
    ServerConfiguration configuration,
    ErrorTranslation errors,
    IHostApplicationLifetime lifetime,
    TimeProvider time)
{
    /// <returns>Null when the path is none of a WebSocket's.</returns>
    public Task? Find(HttpContext http)
    {
        var path = RestApi.PathOf(http);
        foreach (var route in SocketRoutes.All)
        {
            if (route.Binding.Path.Match(path) is { } values)
            {
                return HandleAsync(http, route, values);
            }
        }

        return null;
    }

    private async Task HandleAsync(HttpContext http, SocketRoute route, IReadOnlyList<(string Field, string Value)> values)
    {
        using var ending = CancellationTokenSource.CreateLinkedTokenSource(http.RequestAborted, lifetime.ApplicationStopping);
        var started = time.GetTimestamp();
        var code = StatusCode.OK;
        try
        {
            var stream = await PrepareAsync(http, route, values, ending.Token);
            using var socket = await http.WebSockets.AcceptWebSocketAsync(SocketRoutes.Protocol);
            using var frames = new SocketFrames(socket, ending, time);
            var reading = frames.ReadAsync();
            var failure = await RunAsync(stream, frames, new RestCallContext(http, route.Method, ending.Token));
            code = failure?.StatusCode ?? StatusCode.OK;
            await frames.EndAsync(failure, reading);
        }
        catch (RpcException refused)
        {
            code = refused.StatusCode;
            await RefuseAsync(http, route, refused);
        }
        catch (Exception) when (http.RequestAborted.IsCancellationRequested)
        {
            code = StatusCode.Cancelled;
            http.Abort();
        }
#pragma warning disable CA1031 // What is thrown is translated, and logged when it was not meant.
        catch (Exception exception)
#pragma warning restore CA1031
        {
            var known = errors.Translate(exception, route.Method, cancelled: false);
            code = known.StatusCode;
            if (http.Response.HasStarted)
            {
                http.Abort();
            }
            else
            {
                await RefuseAsync(http, route, known);
            }
        }
        finally
        {
            ServerInstruments.Called(route.Method, "websocket", code, time.GetElapsedTime(started));
        }
    }

    private static Task RefuseAsync(HttpContext http, SocketRoute route, RpcException refused)
    {
        if (http.Request.Method != route.Binding.Verb)
        {
            http.Response.Headers.Allow = route.Binding.Verb;
            return RestErrors.WriteAsync(http.Response, RestErrors.StatusOf(refused), StatusCodes.Status405MethodNotAllowed);
        }

        if (!http.WebSockets.IsWebSocketRequest)
        {
            http.Response.Headers.Upgrade = "websocket";
            return RestErrors.WriteAsync(http.Response, RestErrors.StatusOf(refused), StatusCodes.Status426UpgradeRequired);
        }

        return RestErrors.WriteAsync(http.Response, RestErrors.StatusOf(refused));
    }

    /// <summary>Everything that can be said before there is a socket.</summary>
    /// <returns>The first message of the gRPC stream.</returns>
    private async Task<IMessage> PrepareAsync(
        HttpContext http, SocketRoute route, IReadOnlyList<(string Field, string Value)> values, CancellationToken cancellationToken)
    {
        if (http.Request.Method != route.Binding.Verb)
        {
            throw RestErrors.NoSuchVerb(http.Request.Method, route.Binding.Path.Plain(), [route.Binding.Verb]);
        }

        if (!http.WebSockets.IsWebSocketRequest)
        {
            throw ApiErrors.Error(Google.Rpc.Code.InvalidArgument, $"{route.Binding.Path.Plain()} is a WebSocket: upgrade the connection.");
        }

        RequestOrigin.Check(http.Request, configuration.AllowedOrigins);
        if (!http.WebSockets.WebSocketRequestedProtocols.Contains(SocketRoutes.Protocol))
        {
            throw ApiErrors.InvalidArgument("Sec-WebSocket-Protocol", $"does not offer {SocketRoutes.Protocol}, which is what this server speaks.");
        }

        var query = RequestReader.Read(route.Query, route.Binding, values, http.Request.QueryString.Value ?? "", default);
        IMessage first = query switch
        {
            ExecSocketRequest exec => First(exec),
            ConsoleSocketRequest console => new ConsoleInput { Project = console.Project, Instance = console.Instance },
            VncSocketRequest vnc => new VncInput { Project = vnc.Project, Instance = vnc.Instance, Token = vnc.Token },
            _ => throw new InvalidOperationException($"{query.Descriptor.FullName} opens no stream."),
        };
        await instances.ResolveAsync(FieldPath.Text(query, "project"), FieldPath.Text(query, "instance"), cancellationToken);
        return first;
    }

    private static ExecInput First(ExecSocketRequest query)
    {
        var violations = new FieldViolations();
        var input = new ExecInput
        {
            Project = query.Project,
            Instance = query.Instance,
            Command = { query.Command },
            Terminal = query.Terminal,
            AttachStdin = query.AttachStdin,
            User = query.User,
            WorkingDir = query.WorkingDir,
        };
        if (query.Columns is < 0 or > ushort.MaxValue || query.Rows is < 0 or > ushort.MaxValue)
        {
            violations.Add("columns", $"{query.Columns} by {query.Rows} is no size of a terminal: 0 to {ushort.MaxValue} each.");
        }
        else if (query.Columns > 0 && query.Rows > 0)
        {
            input.Resize = new TerminalSize { Columns = query.Columns, Rows = query.Rows };
        }

        for (var index = 0; index < query.Env.Count; index++)
        {
            var equals = query.Env[index].IndexOf('=', StringComparison.Ordinal);
            if (equals <= 0)
            {
                violations.Add($"env[{index}]", $"'{Printable.Quote(query.Env[index])}' is not NAME=VALUE.");
                continue;
            }

            input.Env.Add(new EnvVar { Name = query.Env[index][..equals], Value = query.Env[index][(equals + 1)..] });
        }

        violations.ThrowIfAny();
        ExecValidation.Check(input);
        return input;
    }

    /// <returns>Why it ended, when it did not end by itself.</returns>
    private async Task<RpcException?> RunAsync(IMessage first, SocketFrames frames, RestCallContext context)
    {
        try
        {
            await (first switch
            {
                ExecInput exec => compute.Exec(frames.Requests(exec, Exec), frames.Answers<ExecOutput>(Frames), context),
                VncInput vnc => compute.AttachVnc(frames.Requests(vnc, Vnc), frames.Answers<VncOutput>(Frames), context),
                _ => compute.AttachConsole(frames.Requests((ConsoleInput)first, Console), frames.Answers<ConsoleOutput>(Frames), context),
            });
            return null;
        }
        catch (WebSocketException)
        {
            return ApiErrors.Error(Google.Rpc.Code.Cancelled, "The client is gone.");
        }
#pragma warning disable CA1031 // As above.
        catch (Exception exception)
#pragma warning restore CA1031
        {
            return frames.Violation ?? (lifetime.ApplicationStopping.IsCancellationRequested
                ? ApiErrors.Unavailable("The server is stopping; ask another one or try again.", Limits.Api.RetryUnavailable)
                : errors.Translate(exception, context.Method, context.CancellationToken.IsCancellationRequested));
        }
    }

    private static ExecInput Exec(ByteString? input, SocketControl? control) => new()
    {
        Stdin = input ?? ByteString.Empty,
        Resize = control?.Resize,
        Signal = control?.Signal ?? 0,
        CloseStdin = control?.CloseStdin ?? false,
    };

    private static ConsoleInput Console(ByteString? input, SocketControl? control) => control is { Signal: not 0 }
        ? throw ApiErrors.InvalidArgument("signal", "is for exec only; StopInstance sends the main process its signal.")
        : new() { Data = input ?? ByteString.Empty, Resize = control?.Resize, CloseStdin = control?.CloseStdin ?? false };

    private static VncInput Vnc(ByteString? input, SocketControl? control) => control is not null
        ? throw ApiErrors.InvalidArgument("", "a display takes no text messages: all of RFB is on channel 0.")
        : new() { Data = input ?? ByteString.Empty };

    private static IEnumerable<(byte Channel, ByteString Data, SocketNotice? Notice)> Frames(VncOutput answer)
    {
        yield return (SocketRoutes.Output, answer.Data, null);
    }

    private static IEnumerable<(byte Channel, ByteString Data, SocketNotice? Notice)> Frames(ExecOutput answer)
    {
        yield return (SocketRoutes.Output, answer.Stdout, null);
        yield return (SocketRoutes.Error, answer.Stderr, answer.Exit is { } exit ? new SocketNotice { Exit = exit } : null);
    }

    private static IEnumerable<(byte Channel, ByteString Data, SocketNotice? Notice)> Frames(ConsoleOutput answer)
    {
        yield return (SocketRoutes.Output, answer.Data, null);
        yield return (SocketRoutes.Error, answer.ErrorData, answer.LostBytes > 0 || answer.About is not null ? new SocketNotice { LostBytes = answer.LostBytes, About = answer.About } : null);
    }
}
