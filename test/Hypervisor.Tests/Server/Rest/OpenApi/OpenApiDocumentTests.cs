using Google.Protobuf.Reflection;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Rest;
using Hypervisor.Server.Rest.OpenApi;
using Microsoft.OpenApi;
using Xunit;
using OpenApiDocument = Hypervisor.Server.Rest.OpenApi.OpenApiDocument;

namespace Hypervisor.Tests.Server.Rest.OpenApi;

/// <summary>Protects: the served description is valid OpenAPI and describes exactly what is served, in the words of the .proto files.</summary>
public sealed class OpenApiDocumentTests
{
    private static readonly ApiDescription Api = ApiDescription.Load();

    [Fact]
    public void It_is_valid_and_names_every_method()
    {
        var document = Parse();

        var described = document.Paths.SelectMany(path => path.Value.Operations!.Select(operation => $"{operation.Key} {path.Key} {operation.Value.OperationId}"));
        var served = new[] { ComputeService.Descriptor, GroupService.Descriptor, ClusterService.Descriptor }
            .SelectMany(service => service.Methods)
            .Select(method => (Method: method, Binding: HttpBinding.Of(method)))
            .Where(entry => entry.Binding is not null)
            .Select(entry => $"{entry.Binding!.Verb} {entry.Binding.Path.Plain()} {entry.Method.Name}")
            .Concat(
            [
                "GET /v1/projects/{project}/instances/{instance}:console AttachConsoleSocket",
                "GET /v1/projects/{project}/instances/{instance}:exec ExecSocket",
                "GET /v1/projects/{project}/instances/{instance}:vnc AttachVncSocket",
            ]);
        Assert.Equal(served.Order(StringComparer.Ordinal), described.Order(StringComparer.Ordinal));
    }

    [Fact]
    public void Fields_are_typed_as_their_json_and_described_by_their_comments()
    {
        var schemas = Parse().Components!.Schemas!;

        var version = schemas["hypervisor.v1.ObjectMeta"].Properties!["resourceVersion"];
        Assert.Equal((JsonSchemaType.String, "int64"), (version.Type, version.Format));
        Assert.StartsWith("Output only. The store revision", version.Description, StringComparison.Ordinal);
        Assert.Equal("date-time", schemas["hypervisor.v1.ObjectMeta"].Properties!["createdAt"].Format);
        Assert.Contains("INSTANCE_TYPE_CONTAINER", schemas["hypervisor.v1.InstanceSpec"].Properties!["type"].Enum!.Select(value => value.ToString()));
    }

    [Fact]
    public void WebSockets_are_described_with_their_query_and_their_protocol()
    {
        var document = Parse();
        var exec = document.Paths["/v1/projects/{project}/instances/{instance}:exec"].Operations![HttpMethod.Get];

        Assert.Equal(
            ["attachStdin", "columns", "command", "env", "instance", "project", "rows", "terminal", "user", "workingDir"],
            exec.Parameters!.Select(parameter => parameter.Name).Order(StringComparer.Ordinal));
        Assert.Contains("v1.stream.hypervisor", exec.Description, StringComparison.Ordinal);
        Assert.True(document.Components!.Schemas!.ContainsKey("hypervisor.v1.SocketControl"));
        Assert.True(document.Components.Schemas.ContainsKey("hypervisor.v1.SocketNotice"));
    }

    [Fact]
    public void Streams_say_that_they_come_line_by_line()
    {
        var watch = Parse().Paths["/v1/nodes:watch"].Operations![HttpMethod.Get];

        Assert.Equal(["application/x-ndjson"], watch.Responses!["200"].Content!.Keys);
    }

    [Fact]
    public void Requests_without_a_body_are_flat_as_the_description_assumes() =>
        Assert.Empty(
            from entry in Api.Methods
            where !entry.Binding.HasBody
            from field in OpenApiDocument.QueryFields(entry.Method.InputType, entry.Binding)
            where field.IsMap || (field.FieldType == FieldType.Message && !FieldPath.IsPlainInJson(field.MessageType))
            select field.FullName);

    [Fact]
    public void The_page_for_people_names_every_method_and_loads_nothing()
    {
        var page = ReferencePage.Build(Api, "1.2.3");

        Assert.All(Api.Methods, entry => Assert.Contains($"id=\"{entry.Method.Name}\"", page, StringComparison.Ordinal));
        Assert.DoesNotContain("<script", page, StringComparison.Ordinal);
        Assert.DoesNotContain("http://", page, StringComparison.Ordinal);
        Assert.DoesNotContain("https://", page, StringComparison.Ordinal);
    }

    private static Microsoft.OpenApi.OpenApiDocument Parse()
    {
        var text = OpenApiDocument.Build(Api, "1.2.3").ToJsonString();
        var result = Microsoft.OpenApi.OpenApiDocument.Parse(text, "json");
        Assert.Empty(result.Diagnostic!.Errors);
        Assert.Empty(result.Diagnostic.Warnings);
        return result.Document!;
    }
}
