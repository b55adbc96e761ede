using Google.Api;
using Google.Protobuf;
using Google.Protobuf.Reflection;
using Grpc.Core;

namespace Hypervisor.Server.Rest;

/// <summary>One method of the API as REST reaches it.</summary>
internal sealed record RestMethod(MethodDescriptor Descriptor, HttpBinding Binding, RestHandler Handler)
{
    /// <summary>As gRPC names it: <c>/hypervisor.v1.ComputeService/GetInstance</c>.</summary>
    public string FullName => $"/{Descriptor.Service.FullName}/{Descriptor.Name}";

    public bool Streams => Descriptor.IsServerStreaming;
}

/// <summary>Runs a method; every answer goes to <paramref name="answer"/>: one of a unary method, any number of a stream.</summary>
internal delegate Task RestHandler(IMessage request, Func<IMessage, CancellationToken, Task> answer, ServerCallContext context);

/// <summary>How a method is reached: its google.api.http option.</summary>
/// <param name="Verb">GET, POST, PUT, PATCH, DELETE.</param>
/// <param name="HasBody">Fields that the path does not give come in the body; otherwise they are query parameters.</param>
internal sealed record HttpBinding(string Verb, PathTemplate Path, bool HasBody)
{
    public int MostParameters { get; init; } = Limits.Rest.QueryParameters;

    /// <returns>Null for a method that REST does not have.</returns>
    /// <exception cref="FormatException">The option asks for what is not supported.</exception>
    public static HttpBinding? Of(MethodDescriptor method)
    {
        if (method.IsClientStreaming || method.GetOptions()?.GetExtension(AnnotationsExtensions.Http) is not { } rule)
        {
            return null;
        }

        var (verb, path) = rule.PatternCase switch
        {
            HttpRule.PatternOneofCase.Get => ("GET", rule.Get),
            HttpRule.PatternOneofCase.Put => ("PUT", rule.Put),
            HttpRule.PatternOneofCase.Post => ("POST", rule.Post),
            HttpRule.PatternOneofCase.Delete => ("DELETE", rule.Delete),
            HttpRule.PatternOneofCase.Patch => ("PATCH", rule.Patch),
            _ => throw new FormatException($"{method.FullName}: the http option has no path."),
        };
        var binding = new HttpBinding(verb, PathTemplate.Parse(path), rule.Body switch
        {
            "*" => true,
            "" => false,
            var body => throw new FormatException($"{method.FullName}: body '{body}' is not supported, only '*'."),
        });
        foreach (var field in binding.Path.Fields)
        {
            if (FieldPath.Find(method.InputType, field) is not { FieldType: FieldType.String, IsRepeated: false })
            {
                throw new FormatException($"{method.FullName}: '{field}' in the path is not a string field of {method.InputType.Name}.");
            }
        }

        return binding;
    }
}
