using System.Text;
using Google.Rpc;
using Grpc.Core;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Rest;
using Hypervisor.Server.Rest.Requests;
using Xunit;

namespace Hypervisor.Tests.Server.Rest;

/// <summary>Protects: a REST request means what its gRPC twin means, and nothing in it is dropped in silence.</summary>
public sealed class RequestReaderTests
{
    private static readonly RestRoutes Routes = new(
        new[] { ComputeService.Descriptor, ClusterService.Descriptor }
            .SelectMany(service => service.Methods)
            .Where(method => HttpBinding.Of(method) is not null)
            .Select(method => new RestMethod(method, HttpBinding.Of(method)!, (_, _, _) => Task.CompletedTask)));

    [Fact]
    public void Path_and_body_make_one_request_in_either_spelling_of_names()
    {
        var request = (CreateInstanceRequest)Read(
            "POST",
            "/v1/projects/p/instances",
            """
            {"name":"web","labels":{"a":"b"},"request_id":"r1",
             "spec":{"type":"INSTANCE_TYPE_CONTAINER","image":"busybox","resources":{"cpuMillicores":"500","memory_bytes":67108864},
                     "stop":{"gracePeriod":"1.5s"}}}
            """);

        Assert.Equal(
            new CreateInstanceRequest
            {
                Project = "p",
                Name = "web",
                Labels = { ["a"] = "b" },
                RequestId = "r1",
                Spec = new()
                {
                    Type = InstanceType.Container,
                    Image = "busybox",
                    Resources = new() { CpuMillicores = 500, MemoryBytes = 67108864 },
                    Stop = new() { GracePeriod = new() { Seconds = 1, Nanos = 500_000_000 } },
                },
            },
            request);
    }

    [Fact]
    public void Query_parameters_are_fields_and_repeat_for_repeated_ones()
    {
        var request = Read(
            "GET",
            "/v1/projects/p/instances",
            query: "?pageSize=7&states=INSTANCE_STATE_RUNNING&states=INSTANCE_STATE_FAILED&label_selector=a%3Db&view=INSTANCE_VIEW_SUMMARY");

        Assert.Equal(
            new ListInstancesRequest
            {
                Project = "p",
                PageSize = 7,
                States = { InstanceState.Running, InstanceState.Failed },
                LabelSelector = "a=b",
                View = InstanceView.Summary,
            },
            request);
    }

    [Fact]
    public void The_path_gives_nested_fields_too()
    {
        var request = (UpdateInstanceRequest)Read(
            "PATCH", "/v1/projects/p/instances/web", """{"instance":{"metadata":{"labels":{"a":"b"}}},"updateMask":"metadata.labels"}""");

        Assert.Equal(("p", "web", "b"), (request.Instance.Metadata.Project, request.Instance.Metadata.Name, request.Instance.Metadata.Labels["a"]));
        Assert.Equal(["metadata.labels"], request.UpdateMask.Paths);
    }

    [Theory]
    [InlineData("""{"spec":{"resources":{"memoryBites":1}}}""", "spec.resources.memoryBites")]
    [InlineData("""{"nmae":"x"}""", "nmae")]
    [InlineData("""{"spec":{"disks":[{"name":"root"},{"nme":"x"}]}}""", "spec.disks[1].nme")]
    [InlineData("""{"spec":{"resources":{"memory_bytes":"a lot"}}}""", "spec.resources.memory_bytes")]
    [InlineData("""{"spec":{"type":"INSTANCE_TYPE_LORRY"}}""", "spec.type")]
    [InlineData("""{"labels":{"a":1}}""", "labels[a]")]
    [InlineData("""{"labels":["a"]}""", "labels")]
    [InlineData("""{"spec":[]}""", "spec")]
    [InlineData("""{"spec":{"stop":{"grace_period":"soon"}}}""", "spec.stop.grace_period")]
    [InlineData("""{"dryRun":"yes"}""", "dry_run")]
    [InlineData("""{"name":"a","name":"b"}""", "body")]
    [InlineData("""[]""", "body")]
    [InlineData("""{"name":""", "body")]
    [InlineData("""{"project":"q"}""", "project")]
    public void What_is_wrong_in_a_body_is_named_by_its_path(string body, string field) =>
        Assert.Equal([field], Violations("POST", "/v1/projects/p/instances", body).Select(violation => violation.Field));

    [Fact]
    public void Everything_wrong_is_named_at_once_with_what_was_probably_meant()
    {
        var violations = Violations("POST", "/v1/projects/p/instances", """{"nmae":"x","spec":{"imag":"y","type":7,"resources":{"cpu_millicores":true}}}""");

        Assert.Equal(["nmae", "spec.imag", "spec.resources.cpu_millicores"], violations.Select(violation => violation.Field));
        Assert.Contains("'name'", violations[0].Description, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("?page_sze=1", "page_sze")]
    [InlineData("?pageSize=many", "page_size")]
    [InlineData("?pageSize=1&page_size=2", "page_size")]
    [InlineData("?states=RUNNING", "states")]
    [InlineData("?PAGESIZE=1", "PAGESIZE")]
    [InlineData("?consistency=", "consistency")]
    public void Query_parameters_that_no_field_takes_are_refused(string query, string field) =>
        Assert.Equal([field], Violations("GET", "/v1/projects/p/instances", query: query).Select(violation => violation.Field));

    [Fact]
    public void A_method_with_a_body_takes_no_query_and_one_without_no_body()
    {
        Assert.Equal(["dryRun"], Violations("POST", "/v1/projects/p/instances", "{}", "?dryRun=true").Select(violation => violation.Field));
        Assert.Equal(["body"], Violations("GET", "/v1/projects/p/instances", "{}").Select(violation => violation.Field));
    }

    [Fact]
    public void A_body_nested_without_end_is_refused()
    {
        var deep = string.Concat(Enumerable.Repeat("{\"spec\":", 5000)) + "1" + new string('}', 5000);

        Assert.Equal(["body"], Violations("POST", "/v1/projects/p/instances", deep).Select(violation => violation.Field));
    }

    [Fact]
    public void Every_unary_or_server_streaming_method_for_clients_has_a_path() =>
        Assert.Empty(new[] { ComputeService.Descriptor, ClusterService.Descriptor }
            .SelectMany(service => service.Methods)
            .Where(method => !method.IsClientStreaming && HttpBinding.Of(method) is null)
            .Select(method => method.FullName));

    [Fact]
    public void What_agents_ask_has_none() =>
        Assert.DoesNotContain(
            new[] { AssignmentService.Descriptor, AgentService.Descriptor }.SelectMany(service => service.Methods),
            method => HttpBinding.Of(method) is not null);

    [Fact]
    public void No_streamed_message_can_be_taken_for_the_error_that_ends_a_stream() =>
        Assert.DoesNotContain(Routes.Methods, method => method.Streams && method.Descriptor.OutputType.FindFieldByName("error") is not null);

    private static Google.Protobuf.IMessage Read(string verb, string path, string body = "", string query = "")
    {
        var match = Routes.Find(verb, path, out _);
        Assert.NotNull(match);
        return RequestReader.Read(match, query, Encoding.UTF8.GetBytes(body));
    }

    private static List<BadRequest.Types.FieldViolation> Violations(string verb, string path, string body = "", string query = "")
    {
        var refused = Assert.Throws<RpcException>(() => Read(verb, path, body, query));
        Assert.Equal(StatusCode.InvalidArgument, refused.StatusCode);
        return [.. refused.GetRpcStatus()!.GetDetail<BadRequest>().FieldViolations];
    }
}
