using System.Net;
using Google.Protobuf;
using Grpc.Core;
using Hypervisor.Protocol.V1;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.DependencyInjection;

namespace Hypervisor.Tests.Server.Rest;

/// <summary>An agent whose processes give back their input, on a real port.</summary>
internal sealed class EchoAgent : AgentService.AgentServiceBase, IAsyncDisposable
{
    private readonly TaskCompletionSource _killed = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private WebApplication? _app;
    private int _tokens;

    public string Address => new Uri(_app!.Urls.First()).Authority;

    /// <summary>The first message of the last exec.</summary>
    public ExecInput? Asked { get; private set; }

    /// <summary>Messages that were written and taken.</summary>
    public int Written { get; private set; }

    /// <summary>Once an exec's client is gone.</summary>
    public Task Killed => _killed.Task;

    public async Task StartAsync(CancellationToken cancellationToken)
    {
        var builder = WebApplication.CreateEmptyBuilder(new());
        builder.WebHost.UseKestrelCore().ConfigureKestrel(kestrel =>
            kestrel.Listen(IPAddress.Loopback, 0, options => options.Protocols = HttpProtocols.Http2));
        builder.Services.AddRouting();
        builder.Services.AddGrpc();
        builder.Services.AddSingleton(this);
        _app = builder.Build();
        _app.MapGrpcService<EchoAgent>();
        await _app.StartAsync(cancellationToken);
    }

    public async ValueTask DisposeAsync()
    {
        if (_app is not null)
        {
            await _app.DisposeAsync();
        }
    }

    public override Task<OpenStreamResponse> OpenStream(OpenStreamRequest request, ServerCallContext context) =>
        Task.FromResult(new OpenStreamResponse { Token = $"{request.Kind}-{Interlocked.Increment(ref _tokens)}" });

    public override async Task Exec(IAsyncStreamReader<ExecInput> requestStream, IServerStreamWriter<ExecOutput> responseStream, ServerCallContext context)
    {
        Assert(context, StreamKind.Exec);
        try
        {
            await EchoAsync(requestStream, responseStream, context);
        }
        catch (Exception gone) when (gone is IOException or OperationCanceledException)
        {
            // Which of them a reader hears first when its client goes away is a race.
            _killed.TrySetResult();
            throw;
        }
    }

    private async Task EchoAsync(IAsyncStreamReader<ExecInput> requestStream, IServerStreamWriter<ExecOutput> responseStream, ServerCallContext context)
    {
        await requestStream.MoveNext(context.CancellationToken);
        Asked = requestStream.Current;
        if (Asked.Command[0] == "flood")
        {
            var chunk = ByteString.CopyFrom(new byte[64 * 1024]);
            while (true)
            {
                await responseStream.WriteAsync(new ExecOutput { Stdout = chunk }, context.CancellationToken);
                Written++;
            }
        }

        while (await requestStream.MoveNext(context.CancellationToken))
        {
            var request = requestStream.Current;
            if (!request.Stdin.IsEmpty)
            {
                await responseStream.WriteAsync(new ExecOutput { Stdout = request.Stdin });
            }

            if (request.Resize is { } size)
            {
                await responseStream.WriteAsync(new ExecOutput { Stderr = ByteString.CopyFromUtf8($"{size.Columns}x{size.Rows}") });
            }

            if (request.CloseStdin || request.Signal != 0)
            {
                await responseStream.WriteAsync(new ExecOutput { Exit = new ExitStatus { Code = request.Signal != 0 ? 128 + request.Signal : 7 } });
                return;
            }
        }
    }

    public override async Task AttachConsole(
        IAsyncStreamReader<ConsoleInput> requestStream, IServerStreamWriter<ConsoleOutput> responseStream, ServerCallContext context)
    {
        Assert(context, StreamKind.Console);
        await responseStream.WriteAsync(new ConsoleOutput { Data = ByteString.CopyFromUtf8("hello"), LostBytes = 3 });
        while (await requestStream.MoveNext(context.CancellationToken))
        {
            if (requestStream.Current.CloseStdin)
            {
                return;
            }

            await responseStream.WriteAsync(new ConsoleOutput { ErrorData = requestStream.Current.Data });
        }
    }

    public override async Task AttachVnc(
        IAsyncStreamReader<VncInput> requestStream, IServerStreamWriter<VncOutput> responseStream, ServerCallContext context)
    {
        Assert(context, StreamKind.Vnc);
        await responseStream.WriteAsync(new VncOutput { Data = ByteString.CopyFromUtf8("RFB") });
        while (await requestStream.MoveNext(context.CancellationToken))
        {
            if (requestStream.Current.Token.Length > 0)
            {
                throw new RpcException(new Status(StatusCode.Internal, "the token went further than its header"));
            }

            if (!requestStream.Current.Data.IsEmpty)
            {
                await responseStream.WriteAsync(new VncOutput { Data = requestStream.Current.Data });
            }
        }
    }

    private static void Assert(ServerCallContext context, StreamKind kind)
    {
        if (context.RequestHeaders.GetValue("hypervisor-stream-token")?.StartsWith($"{kind}-", StringComparison.Ordinal) != true)
        {
            throw new RpcException(new Status(StatusCode.PermissionDenied, "no token"), new Metadata { { "hypervisor-reason", "TokenInvalid" } });
        }
    }
}
