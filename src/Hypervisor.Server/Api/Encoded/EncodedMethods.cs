using Grpc.AspNetCore.Server.Model;
using Grpc.Core;
using Hypervisor.Protocol.V1;
using Contract = Hypervisor.Protocol.V1.ComputeService;

namespace Hypervisor.Server.Api.Encoded;

/// <summary>
/// Binds those methods of ComputeService whose answers are large or go to many: over gRPC they send what was encoded once,
/// instead of objects that are made and encoded for each call. On the wire there is no difference; REST uses the generated methods.
/// </summary>
internal sealed class EncodedMethods : IServiceMethodProvider<ComputeService>
{
    private static readonly string[] _own = [nameof(Contract.ComputeServiceBase.ListInstances), nameof(Contract.ComputeServiceBase.WatchInstances)];

    /// <summary>What ASP.NET Core binds by the contract: all others.</summary>
    public static void BindOthers(ServiceBinderBase binder, Contract.ComputeServiceBase service) =>
        Contract.BindService(new Others(binder), service);

    public void OnServiceMethodDiscovery(ServiceMethodProviderContext<ComputeService> context)
    {
        context.AddUnaryMethod(
            Method<ListInstancesRequest, EncodedInstances>(
                MethodType.Unary, _own[0], ListInstancesRequest.Parser.ParseFrom, (answer, serialization) => answer.Write(serialization)),
            [],
            (service, request, call) => service.ListEncodedInstances(request, call));
        context.AddServerStreamingMethod(
            Method<WatchInstancesRequest, EncodedEvent>(
                MethodType.ServerStreaming, _own[1], WatchInstancesRequest.Parser.ParseFrom, (answer, serialization) => answer.Write(serialization)),
            [],
            (service, request, stream, call) => service.WatchEncodedInstances(request, stream, call));
    }

    private static Method<TRequest, TAnswer> Method<TRequest, TAnswer>(
        MethodType type, string name, Func<System.Buffers.ReadOnlySequence<byte>, TRequest> parse, Action<TAnswer, SerializationContext> write) =>
        new(
            type,
            Contract.Descriptor.FullName,
            name,
            Marshallers.Create<TRequest>(
                (_, _) => throw new NotSupportedException("A server sends no requests."), context => parse(context.PayloadAsReadOnlySequence())),
            Marshallers.Create<TAnswer>(write, _ => throw new NotSupportedException("A server receives no answers.")));

    private sealed class Others(ServiceBinderBase binder) : ServiceBinderBase
    {
        public override void AddMethod<TRequest, TResponse>(
            Method<TRequest, TResponse> method, UnaryServerMethod<TRequest, TResponse>? handler)
        {
            if (!_own.Contains(method.Name))
            {
                binder.AddMethod(method, handler);
            }
        }

        public override void AddMethod<TRequest, TResponse>(
            Method<TRequest, TResponse> method, ServerStreamingServerMethod<TRequest, TResponse>? handler)
        {
            if (!_own.Contains(method.Name))
            {
                binder.AddMethod(method, handler);
            }
        }

        public override void AddMethod<TRequest, TResponse>(
            Method<TRequest, TResponse> method, ClientStreamingServerMethod<TRequest, TResponse>? handler) => binder.AddMethod(method, handler);

        public override void AddMethod<TRequest, TResponse>(
            Method<TRequest, TResponse> method, DuplexStreamingServerMethod<TRequest, TResponse>? handler) => binder.AddMethod(method, handler);
    }
}
