using Google.Protobuf;
using Grpc.Core;
using ServiceDescriptor = Google.Protobuf.Reflection.ServiceDescriptor;

namespace Hypervisor.Server.Rest;

/// <summary>
/// Collects the methods of a service as gRPC itself binds them, so that REST calls the very same code without a network in between.
/// </summary>
internal sealed class ServiceMethods(ServiceDescriptor service) : ServiceBinderBase
{
    private readonly List<RestMethod> _methods = [];

    /// <summary>Those that have a google.api.http option.</summary>
    public IReadOnlyList<RestMethod> All => _methods;

    public override void AddMethod<TRequest, TResponse>(
        Method<TRequest, TResponse> method, UnaryServerMethod<TRequest, TResponse>? handler) =>
        Add(method.Name, async (request, answer, context) =>
        {
            var response = await handler!((TRequest)request, context);
            await answer((IMessage)response, context.CancellationToken);
        });

    public override void AddMethod<TRequest, TResponse>(
        Method<TRequest, TResponse> method, ServerStreamingServerMethod<TRequest, TResponse>? handler) =>
        Add(method.Name, (request, answer, context) => handler!((TRequest)request, new Answers<TResponse>(answer), context));

    public override void AddMethod<TRequest, TResponse>(
        Method<TRequest, TResponse> method, ClientStreamingServerMethod<TRequest, TResponse>? handler)
    {
    }

    public override void AddMethod<TRequest, TResponse>(
        Method<TRequest, TResponse> method, DuplexStreamingServerMethod<TRequest, TResponse>? handler)
    {
    }

    private void Add(string name, RestHandler handler)
    {
        var descriptor = service.FindMethodByName(name);
        if (HttpBinding.Of(descriptor) is { } binding)
        {
            _methods.Add(new(descriptor, binding, handler));
        }
    }

    private sealed class Answers<TResponse>(Func<IMessage, CancellationToken, Task> answer) : IServerStreamWriter<TResponse>
    {
        public WriteOptions? WriteOptions { get; set; }

        public Task WriteAsync(TResponse message) => WriteAsync(message, CancellationToken.None);

        public Task WriteAsync(TResponse message, CancellationToken cancellationToken) => answer((IMessage)message!, cancellationToken);
    }
}
