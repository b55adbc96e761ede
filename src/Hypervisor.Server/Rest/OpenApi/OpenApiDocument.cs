using System.Text.Json.Nodes;
using Google.Protobuf.Reflection;
using Hypervisor.Server.Rest.Sockets;

namespace Hypervisor.Server.Rest.OpenApi;

/// <summary>The API as an OpenAPI 3.0 document, made of the same descriptors that requests are read by.</summary>
internal static class OpenApiDocument
{
    private const string About =
        "Instances, images and nodes of a Zixiao cluster. JSON is protobuf's: 64-bit integers are strings, times are RFC 3339, field names are "
        + "lowerCamelCase (the names of the .proto files are taken too). Unknown fields and query parameters are refused. Answers that come in "
        + "pieces (application/x-ndjson) are one JSON object per line; when one ends by an error, its last line is {\"error\": …} with a "
        + "google.rpc.Status.";

    public static JsonObject Build(ApiDescription api, string version)
    {
        var paths = new JsonObject();
        foreach (var (method, binding) in api.Methods)
        {
            var path = binding.Path.Plain();
            if (paths[path] is not JsonObject item)
            {
                paths[path] = item = [];
            }

            item[binding.Verb.ToLowerInvariant()] = Operation(method, binding);
        }

        foreach (var (route, query) in api.Sockets)
        {
            paths[route.Binding.Path.Plain()] = new JsonObject { ["get"] = Socket(route, query) };
        }

        return new()
        {
            ["openapi"] = "3.0.3",
            ["info"] = new JsonObject
            {
                ["title"] = "Zixiao",
                ["version"] = version,
                ["description"] = About,
                ["license"] = new JsonObject { ["name"] = "Apache-2.0", ["url"] = "https://www.apache.org/licenses/LICENSE-2.0" },
            },
            ["servers"] = new JsonArray(new JsonObject { ["url"] = "/" }),
            ["tags"] = new JsonArray([.. api.Services.Select(service => new JsonObject
            {
                ["name"] = service.Name,
                ["description"] = ApiDescription.Comment(service),
            })]),
            ["paths"] = paths,
            ["components"] = new JsonObject { ["schemas"] = OpenApiSchemas.All(api) },
        };
    }

    private static JsonObject Operation(MethodDescriptor method, HttpBinding binding)
    {
        var operation = new JsonObject { ["operationId"] = method.Name, ["tags"] = new JsonArray(method.Service.Name) };
        var comment = string.Join(
            "\n\n", new[] { ApiDescription.Comment(method), binding.HasBody ? "" : ApiDescription.Comment(method.InputType) }.Where(text => text.Length > 0));
        if (comment.Length > 0)
        {
            operation["description"] = comment;
        }

        var parameters = new JsonArray();
        foreach (var (field, name) in binding.Path.Parameters)
        {
            parameters.Add(Parameter(name, "path", FieldPath.Find(method.InputType, field)!));
        }

        if (binding.HasBody)
        {
            operation["requestBody"] = new JsonObject { ["content"] = Content("application/json", method.InputType) };
        }
        else
        {
            foreach (var field in QueryFields(method.InputType, binding))
            {
                parameters.Add(Parameter(field.JsonName, "query", field));
            }
        }

        if (parameters.Count > 0)
        {
            operation["parameters"] = parameters;
        }

        operation["responses"] = new JsonObject
        {
            ["200"] = new JsonObject
            {
                ["description"] = method.IsServerStreaming ? $"One {method.OutputType.Name} per line." : method.OutputType.Name,
                ["content"] = Content(method.IsServerStreaming ? "application/x-ndjson" : "application/json", method.OutputType),
            },
            ["default"] = new JsonObject
            {
                ["description"] = "Refused or failed.",
                ["content"] = new JsonObject
                {
                    ["application/json"] = new JsonObject { ["schema"] = OpenApiSchemas.Reference(OpenApiSchemas.Error) },
                },
            },
        };
        return operation;
    }

    /// <summary>OpenAPI 3.0 knows no WebSockets: the opening request, and the rest in words.</summary>
    private static JsonObject Socket(SocketRoute route, MessageDescriptor query)
    {
        var parameters = new JsonArray();
        foreach (var (field, name) in route.Binding.Path.Parameters)
        {
            parameters.Add(Parameter(name, "path", FieldPath.Find(query, field)!));
        }

        foreach (var field in QueryFields(query, route.Binding))
        {
            parameters.Add(Parameter(field.JsonName, "query", field));
        }

        return new()
        {
            ["operationId"] = $"{route.Method.Split('/')[^1]}Socket",
            ["tags"] = new JsonArray("ComputeService"),
            ["description"] = SocketRoutes.About,
            ["parameters"] = parameters,
            ["responses"] = new JsonObject
            {
                ["101"] = new JsonObject { ["description"] = "The connection is a WebSocket from now on." },
                ["default"] = new JsonObject
                {
                    ["description"] = "Refused.",
                    ["content"] = new JsonObject
                    {
                        ["application/json"] = new JsonObject { ["schema"] = OpenApiSchemas.Reference(OpenApiSchemas.Error) },
                    },
                },
            },
        };
    }

    /// <summary>What can be asked besides the path. Our requests without a body are flat; a nested one would need dotted names here.</summary>
    public static IEnumerable<FieldDescriptor> QueryFields(MessageDescriptor type, HttpBinding binding) =>
        type.Fields.InDeclarationOrder().Where(field => !binding.Path.Fields.Contains(field.Name));

    private static JsonObject Parameter(string name, string where, FieldDescriptor field)
    {
        var parameter = new JsonObject { ["name"] = name, ["in"] = where };
        if (where == "path")
        {
            parameter["required"] = true;
        }

        var comment = ApiDescription.Comment(field);
        if (comment.Length > 0)
        {
            parameter["description"] = comment;
        }

        parameter["schema"] = OpenApiSchemas.Field(field, described: false);
        return parameter;
    }

    private static JsonObject Content(string mediaType, MessageDescriptor type) => new()
    {
        [mediaType] = new JsonObject { ["schema"] = OpenApiSchemas.Reference(type.FullName) },
    };
}
