using System.Net;
using System.Net.Http.Headers;
using System.Text;
using System.Text.Json;
using Google.Protobuf;
using Hypervisor.Protocol.V1;
using Microsoft.Extensions.DependencyInjection;
using Xunit;

namespace Hypervisor.Tests.Server.Rest;

/// <summary>Protects: REST answers what gRPC answers, over a real port.</summary>
public sealed class RestApiTests : IAsyncLifetime
{
    private readonly CancellationTokenSource _deadline = CancellationTokenSource.CreateLinkedTokenSource(TestContext.Current.CancellationToken);
    private RunningServer _server = null!;
    private HttpClient _http = null!;

    private CancellationToken Token => _deadline.Token;

    public async ValueTask InitializeAsync()
    {
        _deadline.CancelAfter(TimeSpan.FromSeconds(60));
        _server = await RunningServer.StartAsync(Token);
        _http = new() { BaseAddress = _server.HttpAddress };
    }

    public async ValueTask DisposeAsync()
    {
        _http.Dispose();
        await _server.DisposeAsync();
        _deadline.Dispose();
    }

    [Fact]
    public async Task What_is_created_over_rest_is_the_same_over_both()
    {
        using var created = await SendAsync(HttpMethod.Post, "/v1/projects/default/instances", Web("web"));
        Assert.Equal(HttpStatusCode.OK, created.StatusCode);
        Assert.Equal("application/json", created.Content.Headers.ContentType!.MediaType);

        var compute = new ComputeService.ComputeServiceClient(_server.Channel);
        var overGrpc = await compute.GetInstanceAsync(new() { Instance = "web" }, cancellationToken: Token);
        var overRest = await _http.GetStringAsync("/v1/projects/default/instances/web", Token);
        Assert.Equal(JsonFormatter.Default.Format(overGrpc), overRest.TrimEnd('\n'));
        using var json = JsonDocument.Parse(overRest);
        Assert.Equal(JsonValueKind.String, json.RootElement.GetProperty("metadata").GetProperty("resourceVersion").ValueKind);

        using var stale = await SendAsync(HttpMethod.Get, "/v1/projects/default/instances/web?consistency=CONSISTENCY_STALE");
        Assert.InRange(double.Parse(stale.Headers.GetValues("view-age").Single(), System.Globalization.CultureInfo.InvariantCulture), 0, 60);
        using var deleted = await SendAsync(HttpMethod.Delete, "/v1/projects/default/instances/web?requestId=r1");
        Assert.Equal(HttpStatusCode.OK, deleted.StatusCode);
    }

    [Fact]
    public async Task Groups_are_asked_for_over_rest_as_over_grpc()
    {
        const string Path = "/v1/projects/default/groups";
        using var created = await SendAsync(
            HttpMethod.Post, Path, """{"name":"web","spec":{"count":2,"template":{"spec":{"type":"INSTANCE_TYPE_CONTAINER","image":"busybox"}}}}""");
        Assert.Equal(HttpStatusCode.OK, created.StatusCode);
        using var scaled = await SendAsync(HttpMethod.Post, $"{Path}/web:scale", """{"count":3}""");
        Assert.Equal(HttpStatusCode.OK, scaled.StatusCode);
        using var updated = await SendAsync(
            HttpMethod.Patch, $"{Path}/web", """{"group":{"spec":{"template":{"spec":{"image":"nginx"}}}},"updateMask":"spec.template.spec.image"}""");
        Assert.Equal(HttpStatusCode.OK, updated.StatusCode);
        using var undone = await SendAsync(HttpMethod.Post, $"{Path}/web:rollBack", "{}");
        Assert.Equal(HttpStatusCode.OK, undone.StatusCode);

        var overGrpc = await new GroupService.GroupServiceClient(_server.Channel).GetGroupAsync(new() { Group = "web" }, cancellationToken: Token);
        Assert.Equal((3, 1), (overGrpc.Spec.Count, overGrpc.Status.Revision));
        Assert.Contains("\"count\":3", (await _http.GetStringAsync($"{Path}/web", Token)).Replace(" ", "", StringComparison.Ordinal), StringComparison.Ordinal);
        foreach (var read in new[] { Path, $"{Path}/web/revisions", $"{Path}/web:explain" })
        {
            Assert.NotEmpty(await _http.GetStringAsync(read, Token));
        }

        using var deleted = await SendAsync(HttpMethod.Delete, $"{Path}/web");
        Assert.Equal(HttpStatusCode.OK, deleted.StatusCode);
    }

    [Fact]
    public async Task What_if_is_asked_over_rest_as_over_grpc()
    {
        const string Asked = """{"place":[{"count":3,"spec":{"type":"INSTANCE_TYPE_CONTAINER","image":"busybox"}}]}""";
        using var answer = await SendAsync(HttpMethod.Post, "/v1/cluster:whatIf", Asked);
        Assert.Equal(HttpStatusCode.OK, answer.StatusCode);
        var overRest = JsonParser.Default.Parse<WhatIfResponse>(await answer.Content.ReadAsStringAsync(Token));
        var overGrpc = await new ClusterService.ClusterServiceClient(_server.Channel).WhatIfAsync(JsonParser.Default.Parse<WhatIfRequest>(Asked), cancellationToken: Token);
        Assert.Equal(("NoNodes", 3), (overRest.Placed[0].Refusals[0].Reason, overRest.Placed[0].Instances));
        Assert.Equal(overGrpc.Placed, overRest.Placed);

        using var nothing = await SendAsync(HttpMethod.Post, "/v1/cluster:whatIf", "{}");
        Assert.Equal(HttpStatusCode.BadRequest, nothing.StatusCode);
    }

    [Fact]
    public async Task Errors_have_the_status_of_their_code_and_the_details_of_grpc()
    {
        using var missing = await SendAsync(HttpMethod.Get, "/v1/projects/default/instances/nobody");
        Assert.Equal(HttpStatusCode.NotFound, missing.StatusCode);
        using (var error = JsonDocument.Parse(await missing.Content.ReadAsStringAsync(Token)))
        {
            Assert.Equal(5, error.RootElement.GetProperty("code").GetInt32());
            Assert.Equal("type.googleapis.com/google.rpc.ResourceInfo", error.RootElement.GetProperty("details")[0].GetProperty("@type").GetString());
        }

        using var wrong = await SendAsync(HttpMethod.Post, "/v1/projects/default/instances", """{"name":"UPPER","spec":{"type":"INSTANCE_TYPE_CONTAINER"}}""");
        Assert.Equal(HttpStatusCode.BadRequest, wrong.StatusCode);
        Assert.Contains("google.rpc.BadRequest", await wrong.Content.ReadAsStringAsync(Token), StringComparison.Ordinal);

        using var unknown = await SendAsync(HttpMethod.Get, "/v1/lorries");
        Assert.Equal(HttpStatusCode.NotFound, unknown.StatusCode);
        using var verb = await SendAsync(HttpMethod.Put, "/v1/nodes", "{}");
        Assert.Equal(HttpStatusCode.MethodNotAllowed, verb.StatusCode);
        Assert.Equal(["GET", "POST"], verb.Content.Headers.Allow.Order(StringComparer.Ordinal));
        using var form = new HttpRequestMessage(HttpMethod.Post, "/v1/projects/default/instances") { Content = new StringContent("a=b") };
        Assert.Equal(HttpStatusCode.UnsupportedMediaType, (await _http.SendAsync(form, Token)).StatusCode);
    }

    [Fact]
    public async Task Images_are_got_and_imported_over_rest_as_over_grpc()
    {
        using var missing = await SendAsync(HttpMethod.Get, "/v1/projects/default/images/registry.example:5000/team/disk:1");
        Assert.Equal(HttpStatusCode.NotFound, missing.StatusCode);
        Assert.Contains("registry.example:5000/team/disk:1", await missing.Content.ReadAsStringAsync(Token), StringComparison.Ordinal);

        using var refused = await SendAsync(
            HttpMethod.Post, "/v1/projects/default/images:importUrl", """{"url":"file:///etc/passwd","image":{"name":"disk:1","format":"IMAGE_FORMAT_RAW"}}""");
        var answer = await refused.Content.ReadAsStringAsync(Token);
        Assert.Equal(HttpStatusCode.BadRequest, refused.StatusCode);
        Assert.Contains("\"url\"", answer, StringComparison.Ordinal);
        Assert.Contains("image.checksum", answer, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Pages_of_other_sites_change_nothing()
    {
        using var request = new HttpRequestMessage(HttpMethod.Post, "/v1/projects/default/instances") { Content = Body(Web("web")) };
        request.Headers.Add("Origin", "https://elsewhere.example");
        using var refused = await _http.SendAsync(request, Token);

        Assert.Equal(HttpStatusCode.Forbidden, refused.StatusCode);
        Assert.DoesNotContain("web", await _http.GetStringAsync("/v1/projects/-/instances", Token), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_watch_comes_line_by_line_and_ends_with_the_servers_shutdown_in_so_many_words()
    {
        using var answer = await _http.GetAsync("/v1/projects/default/instances:watch", HttpCompletionOption.ResponseHeadersRead, Token);
        Assert.Equal("application/x-ndjson", answer.Content.Headers.ContentType!.MediaType);
        using var lines = new StreamReader(await answer.Content.ReadAsStreamAsync(Token));
        Assert.Contains("BOOKMARK", await lines.ReadLineAsync(Token), StringComparison.Ordinal);

        using var created = await SendAsync(HttpMethod.Post, "/v1/projects/default/instances", Web("web"));
        var added = WatchInstancesResponse.Parser.ParseJson(await lines.ReadLineAsync(Token));
        Assert.Equal((WatchEventType.Added, "web"), (added.Type, added.Instance.Metadata.Name));

        var stopping = _server.StopAsync(Token);
        string? line;
        string? last = null;
        while ((line = await lines.ReadLineAsync(Token)) is not null)
        {
            last = line;
        }

        await stopping;
        Assert.StartsWith("{ \"error\": {", last, StringComparison.Ordinal);
        Assert.Contains("\"code\": 14", last, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Groups_are_watched_line_by_line_too()
    {
        using var answer = await _http.GetAsync("/v1/projects/default/groups:watch", HttpCompletionOption.ResponseHeadersRead, Token);
        Assert.Equal("application/x-ndjson", answer.Content.Headers.ContentType!.MediaType);
        using var lines = new StreamReader(await answer.Content.ReadAsStreamAsync(Token));
        var bookmark = WatchGroupsResponse.Parser.ParseJson(await lines.ReadLineAsync(Token));
        Assert.Equal(WatchEventType.Bookmark, bookmark.Type);

        const string Group = """{"name": "web", "spec": {"count": 0, "template": {"spec": {"type": "INSTANCE_TYPE_CONTAINER", "image": "busybox"}}}}""";
        using var created = await SendAsync(HttpMethod.Post, "/v1/projects/default/groups", Group);
        Assert.Equal(HttpStatusCode.OK, created.StatusCode);
        var added = WatchGroupsResponse.Parser.ParseJson(await lines.ReadLineAsync(Token));
        Assert.Equal((WatchEventType.Added, "web"), (added.Type, added.Group.Metadata.Name));

        using var resumed = await _http.GetAsync(
            $"/v1/projects/default/groups:watch?group=web&resourceVersion={bookmark.ResourceVersion}", HttpCompletionOption.ResponseHeadersRead, Token);
        using var again = new StreamReader(await resumed.Content.ReadAsStreamAsync(Token));
        Assert.Equal(added, WatchGroupsResponse.Parser.ParseJson(await again.ReadLineAsync(Token)));
    }

    [Fact]
    public async Task A_watch_that_cannot_begin_is_an_error_and_no_stream()
    {
        using var answer = await SendAsync(HttpMethod.Get, "/v1/projects/default/instances:watch?labelSelector=%3D%3D");

        Assert.Equal(HttpStatusCode.BadRequest, answer.StatusCode);
        Assert.Equal("application/json", answer.Content.Headers.ContentType!.MediaType);
    }

    [Fact]
    public async Task The_description_and_the_page_are_served()
    {
        using var document = await SendAsync(HttpMethod.Get, "/openapi.json");
        Assert.Equal("application/json", document.Content.Headers.ContentType!.MediaType);
        Assert.Contains("\"openapi\": \"3.0.3\"", await document.Content.ReadAsStringAsync(Token), StringComparison.Ordinal);
        using var page = await SendAsync(HttpMethod.Get, "/docs");
        Assert.Equal("text/html", page.Content.Headers.ContentType!.MediaType);
        Assert.Contains("default-src 'none'", page.Headers.GetValues("Content-Security-Policy").Single(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_metrics_count_calls_by_method_and_in_buckets_that_fit_them()
    {
        await _http.GetStringAsync("/v1/nodes", Token);

        Assert.Contains(
            "hypervisor_rpc_duration_seconds_bucket{code=\"OK\",method=\"/hypervisor.v1.ClusterService/ListNodes\",transport=\"rest\",le=\"0.0005\"}",
            await _http.GetStringAsync("/metrics", Token),
            StringComparison.Ordinal);
    }

    private static string Web(string name) =>
        $"{{\"name\":\"{name}\","
        + """
          "spec":{"type":"INSTANCE_TYPE_CONTAINER","image":"busybox","resources":{"cpuMillicores":"100","memoryBytes":"67108864"}}}
          """;

    private static StringContent Body(string json) => new(json, Encoding.UTF8, new MediaTypeHeaderValue("application/json"));

    private async Task<HttpResponseMessage> SendAsync(HttpMethod verb, string path, string? body = null)
    {
        using var request = new HttpRequestMessage(verb, path) { Content = body is null ? null : Body(body) };
        return await _http.SendAsync(request, Token);
    }
}
