using Google.Api;
using Google.Protobuf;
using Google.Protobuf.Reflection;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Rest.Sockets;
using ServiceDescriptor = Google.Protobuf.Reflection.ServiceDescriptor;

namespace Hypervisor.Server.Rest.OpenApi;

/// <summary>The public API's descriptors with the comments of their .proto files, which generated code does not carry.</summary>
internal sealed class ApiDescription
{
    private const string Resource = "public-api.pb";

    private static readonly string[] Public = ["hypervisor.v1.ComputeService", "hypervisor.v1.GroupService", "hypervisor.v1.ClusterService"];

    private readonly IReadOnlyList<MessageDescriptor> _messages;

    private ApiDescription(IReadOnlyList<ServiceDescriptor> services, IReadOnlyList<MessageDescriptor> messages) => (Services, _messages) = (services, messages);

    /// <summary>Those that clients call.</summary>
    public IReadOnlyList<ServiceDescriptor> Services { get; }

    public static ApiDescription Load()
    {
        using var stream = typeof(ApiDescription).Assembly.GetManifestResourceStream(Resource)
            ?? throw new InvalidOperationException($"The program was built without {Resource}.");
        var set = FileDescriptorSet.Parser.ParseFrom(stream);
        var files = FileDescriptor.BuildFromByteStrings(
            set.File.Select(file => file.ToByteString()), new ExtensionRegistry { AnnotationsExtensions.Http });
        var services = files.SelectMany(file => file.Services).ToDictionary(service => service.FullName, StringComparer.Ordinal);
        return new([.. Public.Select(name => services[name])], [.. files.SelectMany(file => file.MessageTypes)]);
    }

    /// <summary>WebSockets, with their queries as the .proto files describe them.</summary>
    public IEnumerable<(SocketRoute Route, MessageDescriptor Query)> Sockets => SocketRoutes.All.Select(route => (route, Message(route.Query)));

    /// <summary>Methods that REST has, in the order of the .proto file.</summary>
    public IEnumerable<(MethodDescriptor Method, HttpBinding Binding)> Methods =>
        from service in Services
        from method in service.Methods
        let binding = HttpBinding.Of(method)
        where binding is not null
        select (method, binding);

    /// <summary>The comment above, or else beside, a declaration; lines of one paragraph are joined.</summary>
    public static string Comment(IDescriptor descriptor)
    {
        var declaration = descriptor switch
        {
            MessageDescriptor message => message.Declaration,
            FieldDescriptor field => field.Declaration,
            EnumDescriptor type => type.Declaration,
            EnumValueDescriptor value => value.Declaration,
            ServiceDescriptor service => service.Declaration,
            MethodDescriptor method => method.Declaration,
            _ => null,
        };
        var text = declaration is null ? "" : declaration.LeadingComments.Length > 0 ? declaration.LeadingComments : declaration.TrailingComments;
        var paragraphs = text.Split("\n\n").Select(paragraph => string.Join(' ', paragraph.Split('\n', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries)));
        return string.Join("\n\n", paragraphs.Where(paragraph => paragraph.Length > 0));
    }

    /// <summary>Every message that the methods mention, by full name.</summary>
    public IReadOnlyList<MessageDescriptor> Messages()
    {
        var found = new SortedDictionary<string, MessageDescriptor>(StringComparer.Ordinal);
        var pending = new Queue<MessageDescriptor>();
        foreach (var (method, binding) in Methods)
        {
            pending.Enqueue(method.OutputType);
            if (binding.HasBody)
            {
                pending.Enqueue(method.InputType);
            }
        }

        pending.Enqueue(Message(SocketControl.Descriptor));
        pending.Enqueue(Message(SocketNotice.Descriptor));
        while (pending.TryDequeue(out var type))
        {
            if (FieldPath.IsPlainInJson(type) || (!IsEntry(type) && !found.TryAdd(type.FullName, type)))
            {
                continue;
            }

            foreach (var field in type.Fields.InDeclarationOrder().Where(field => field.FieldType == FieldType.Message))
            {
                pending.Enqueue(field.MessageType);
            }
        }

        return [.. found.Values];
    }

    /// <summary>The same message with its comments.</summary>
    private MessageDescriptor Message(MessageDescriptor generated) => _messages.Single(message => message.FullName == generated.FullName);

    private static bool IsEntry(MessageDescriptor type) => type.GetOptions()?.MapEntry == true;
}
