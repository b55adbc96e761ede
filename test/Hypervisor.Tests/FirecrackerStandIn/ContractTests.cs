using System.Text;
using System.Text.Json.Nodes;
using Hypervisor.FirecrackerStandIn;
using Hypervisor.FirecrackerStandIn.Contract;
using Hypervisor.FirecrackerStandIn.Guests;
using Xunit;

namespace Hypervisor.Tests.FirecrackerStandIn;

/// <summary>
/// The stand-in serves Firecracker's published contract and nothing beyond it: what the driver may get wrong, it refuses. Protects the driver's
/// tests from a stand-in that is kinder than Firecracker.
/// </summary>
public sealed class ContractTests : IDisposable
{
    private const string Before = "The requested operation is not supported before starting the microVM.";
    private const string After = "The requested operation is not supported after starting the microVM.";

    private readonly ScratchFolder _folder = new();

    public ContractTests()
    {
        File.WriteAllText(_folder["file"], "");
        File.WriteAllText(_folder["kernel"], "\u007fELF...");
        using var memory = File.Create(_folder["memory"]);
        memory.SetLength(256 << 20);
        File.WriteAllText(_folder["loadable"], """
            {"bytes":4,"configuration":{"machine-config":{"vcpu_count":1,"mem_size_mib":256},"drives":[],
             "network-interfaces":[{"iface_id":"n","host_dev_name":"tap0"}],"vsock":{"guest_cid":3,"uds_path":"FOLDER/vsock"}}}
            """.Replace("FOLDER", _folder.Path, StringComparison.Ordinal));
    }

    public static TheoryData<string> All => new(ContractTable.Rows.Select(row => row.Name));

    public static TheoryData<string> WithBody => new(ContractTable.Rows.Where(row => row.Full is not null).Select(row => row.Name));

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void Has_exactly_the_operations_and_fields_of_the_table()
    {
        Assert.Equal(
            ContractTable.Rows.Select(row => $"{row.Phase} {row.Name}").Order(StringComparer.Ordinal),
            Operations.All.Select(operation => $"{operation.Phase.ToString().ToLowerInvariant()} {operation.Method} {operation.Path}").Order(StringComparer.Ordinal));
        foreach (var row in ContractTable.Rows)
        {
            var shape = Operations.All.Single(operation => $"{operation.Method} {operation.Path}" == row.Name).Body;
            var fields = row.Full is null || shape is AnythingShape
                ? []
                : Paths(Full(row)).Concat(ContractTable.Exclusive.TryGetValue(row.Name, out var more) ? [more] : []).Where(path => path != "properties.rack");
            Assert.Equal(fields.Order(StringComparer.Ordinal), Paths(shape, "").Order(StringComparer.Ordinal));
        }
    }

    [Theory]
    [MemberData(nameof(All))]
    public async Task Accepts_a_body_with_every_field_in_its_phase(string name)
    {
        var row = Row(name);
        foreach (var phase in row.Phase == "any" ? (string[])["before", "after"] : [row.Phase])
        {
            if ((name, phase) is not ("PUT /actions", "before"))
            {
                Assert.Null(await FaultAsync(row, phase, row.Full is null ? null : Full(row)));
            }
        }
    }

    [Theory]
    [MemberData(nameof(All))]
    public async Task Refuses_it_in_the_other_phase(string name)
    {
        var row = Row(name);
        if (row.Phase != "any")
        {
            Assert.Equal(
                row.Phase == "before" ? After : Before,
                await FaultAsync(row, row.Phase == "before" ? "after" : "before", row.Full is null ? null : Full(row)));
        }
    }

    [Theory]
    [MemberData(nameof(WithBody))]
    public async Task Refuses_fields_that_it_does_not_know_at_every_depth(string name)
    {
        var row = Row(name);
        foreach (var place in Paths(Full(row)).Prepend("").Where(path => path != "properties" && !path.StartsWith("anything", StringComparison.Ordinal)))
        {
            var body = Full(row);
            if (Get(body, place) is JsonObject inner && !name.EndsWith("/mmds", StringComparison.Ordinal))
            {
                inner["surprise"] = 1;
                Assert.Contains("unknown field `surprise`", await FaultAsync(row, Usual(row), body), StringComparison.Ordinal);
            }
        }
    }

    [Theory]
    [MemberData(nameof(WithBody))]
    public async Task Refuses_a_body_without_a_required_field_and_takes_one_without_another(string name)
    {
        var row = Row(name);
        var required = ContractTable.Required(row);
        foreach (var path in Paths(Full(row)).Where(path => !row.Either.Split(' ').Contains(path) && path != "properties.rack"))
        {
            var body = Full(row);
            var parent = path.LastIndexOf('.') is > 0 and var dot ? Get(body, path[..dot]) : body;
            parent!.AsObject().Remove(path[(path.LastIndexOf('.') + 1)..]);
            var fault = await FaultAsync(row, Usual(row), body);
            if (required.Contains(path))
            {
                Assert.Contains("missing field", fault, StringComparison.Ordinal);
            }
            else
            {
                Assert.True(fault is null, $"{path}: {fault}");
            }
        }
    }

    [Theory]
    [MemberData(nameof(WithBody))]
    public async Task Refuses_other_types(string name)
    {
        var row = Row(name);
        if (name.EndsWith("/mmds", StringComparison.Ordinal))
        {
            return;
        }

        foreach (var path in Paths(Full(row)))
        {
            foreach (var other in (JsonNode?[])[null, JsonValue.Create(1.5), JsonValue.Create("text"), JsonValue.Create(true), new JsonArray(1), new JsonObject()])
            {
                var body = Full(row);
                if (other?.GetValueKind() != Get(body, path)!.GetValueKind() && !(other?.GetValueKind() is System.Text.Json.JsonValueKind.True && Get(body, path)!.GetValueKind() is System.Text.Json.JsonValueKind.False))
                {
                    Set(body, path, other);
                    Assert.True(await FaultAsync(row, Usual(row), body) is not null, $"{path}: {other?.ToJsonString() ?? "null"} is taken");
                }
            }
        }
    }

    [Theory]
    [MemberData(nameof(ContractTable.Excluded), MemberType = typeof(ContractTable))]
    public async Task Refuses_values_out_of_bounds(string name, string path, string value)
    {
        var row = Row(name);
        var body = Full(row);
        Set(body, path, JsonNode.Parse(value));
        Assert.NotNull(await FaultAsync(row, Usual(row), body));
    }

    [Theory]
    [MemberData(nameof(All))]
    public async Task Takes_a_body_only_where_there_is_one(string name)
    {
        var row = Row(name);
        if (row.Full is null)
        {
            Assert.Contains("cannot have a body", await FaultAsync(row, Usual(row), []), StringComparison.Ordinal);
        }
        else
        {
            Assert.Equal(row.BodyOptional, await FaultAsync(row, Usual(row), null) is null);
        }
    }

    [Theory]
    [InlineData("PUT", "/drives/other", """{"drive_id":"d","is_root_device":false,"is_read_only":true,"path_on_host":"FOLDER/file"}""", "does not match")]
    [InlineData("PUT", "/drives/a-b", """{"drive_id":"a-b","is_root_device":false,"is_read_only":true,"path_on_host":"FOLDER/file"}""", "alphanumeric")]
    [InlineData("PUT", "/drives/e", """{"drive_id":"e","is_root_device":false,"is_read_only":true,"path_on_host":"FOLDER/none"}""", "cannot open")]
    [InlineData("PUT", "/drives/e", """{"drive_id":"e","is_root_device":false}""", "path_on_host and is_read_only")]
    [InlineData("PUT", "/drives/e", """{"drive_id":"e","is_root_device":false,"is_read_only":true,"path_on_host":"FOLDER/file","socket":"s"}""", "both")]
    [InlineData("PUT", "/drives/e", """{"drive_id":"e","is_root_device":false,"socket":"s"}""", "vhost-user")]
    [InlineData("PUT", "/drives/e", """{"drive_id":"e","is_root_device":true,"is_read_only":true,"path_on_host":"FOLDER/file"}""", "root block device")]
    [InlineData("PUT", "/boot-source", """{"kernel_image_path":"FOLDER/none"}""", "kernel file cannot be opened")]
    [InlineData("PUT", "/network-interfaces/m", """{"iface_id":"m","host_dev_name":"tap0"}""", "tap device")]
    [InlineData("PUT", "/network-interfaces/m", """{"iface_id":"m","host_dev_name":"tap1","guest_mac":"02:00:00:00:00:01"}""", "already in use")]
    [InlineData("PUT", "/network-interfaces/m", """{"iface_id":"m","host_dev_name":"tap1","guest_mac":"nonsense"}""", "invalid MAC")]
    [InlineData("PUT", "/metrics", """{"metrics_path":"FOLDER/file"}""", "Reinitialization")]
    [InlineData("PUT", "/vsock", """{"guest_cid":3,"uds_path":"FOLDER/file"}""", "binding")]
    [InlineData("PATCH", "/balloon", """{"amount_mib":100000}""", "too large")]
    [InlineData("PATCH", "/balloon/statistics", """{"stats_polling_interval_s":0}""", "cannot be enabled or disabled")]
    [InlineData("PUT", "/snapshot/load", """{"snapshot_path":"FOLDER/loadable","mem_file_path":"FOLDER/memory"}""", "not allowed after configuring")]
    [InlineData("PUT", "/nowhere", "{}", "Invalid request method and/or path")]
    [InlineData("DELETE", "/vm", "", "Invalid request method and/or path")]
    [InlineData("PUT", "/vsock", """{"guest_cid":3,"uds_path":"a","uds_path":"b"}""", "duplicate field")]
    [InlineData("PUT", "/vsock", "not json", "deserializing")]
    public async Task Refuses_what_does_not_fit_the_rest_of_the_machine(string method, string path, string body, string fault)
    {
        await using var machine = new Microvm("id", "1.17.0", new NoGuest());
        await PrepareAsync(machine, "");
        var refused = await Assert.ThrowsAsync<FaultException>(
            () => machine.CallAsync(method, path, Encoding.UTF8.GetBytes(body.Replace("FOLDER", _folder.Path, StringComparison.Ordinal))));
        Assert.Contains(fault, refused.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Starts_only_a_kernel_that_is_an_uncompressed_elf_program_and_only_once()
    {
        await using var machine = new Microvm("id", "1.17.0", new NoGuest());
        await Assert.ThrowsAsync<FaultException>(() => Call(machine, "PUT", "/actions", """{"action_type":"InstanceStart"}"""));
        await Call(machine, "PUT", "/boot-source", $$"""{"kernel_image_path":"{{_folder["file"]}}"}""");
        var refused = await Assert.ThrowsAsync<FaultException>(() => Call(machine, "PUT", "/actions", """{"action_type":"InstanceStart"}"""));
        Assert.Contains("Invalid Elf magic", refused.Message, StringComparison.Ordinal);
        await Call(machine, "PUT", "/boot-source", $$"""{"kernel_image_path":"{{_folder["kernel"]}}"}""");
        await Call(machine, "PUT", "/actions", """{"action_type":"InstanceStart"}""");
        refused = await Assert.ThrowsAsync<FaultException>(() => Call(machine, "PUT", "/actions", """{"action_type":"InstanceStart"}"""));
        Assert.Equal(After, refused.Message);
    }

    [Fact]
    public async Task Saves_only_a_paused_machine_and_changes_only_where_they_were_tracked()
    {
        await using var machine = new Microvm("id", "1.17.0", new NoGuest());
        await Call(machine, "PUT", "/boot-source", $$"""{"kernel_image_path":"{{_folder["kernel"]}}"}""");
        await Call(machine, "PUT", "/actions", """{"action_type":"InstanceStart"}""");
        var save = $$"""{"mem_file_path":"{{_folder["m"]}}","snapshot_path":"{{_folder["s"]}}","snapshot_type":"Diff"}""";
        Assert.Contains("should be paused", (await Assert.ThrowsAsync<FaultException>(() => Call(machine, "PUT", "/snapshot/create", save))).Message, StringComparison.Ordinal);
        await Call(machine, "PATCH", "/vm", """{"state":"Paused"}""");
        Assert.Contains("dirty page", (await Assert.ThrowsAsync<FaultException>(() => Call(machine, "PUT", "/snapshot/create", save))).Message, StringComparison.Ordinal);
        await Call(machine, "PUT", "/snapshot/create", save.Replace("Diff", "Full", StringComparison.Ordinal));

        await using var other = new Microvm("id", "1.17.0", new NoGuest());
        await Call(other, "PUT", "/snapshot/load", $$"""{"mem_file_path":"{{_folder["m"]}}","snapshot_path":"{{_folder["s"]}}"}""");
        Assert.Equal("Paused", (string?)(await other.CallAsync("GET", "/", []))!["state"]);
    }

    private static ContractRow Row(string name) => ContractTable.Rows.Single(row => row.Name == name);

    private static string Usual(ContractRow row) => row.Phase == "before" ? "before" : "after";

    private static Task<JsonNode?> Call(Microvm machine, string method, string path, string body) => machine.CallAsync(method, path, Encoding.UTF8.GetBytes(body));

    private JsonObject Full(ContractRow row) => JsonNode.Parse(ContractTable.Body(row, _folder.Path))!.AsObject();

    private async Task<string?> FaultAsync(ContractRow row, string phase, JsonObject? body)
    {
        await using var machine = new Microvm("id", "1.17.0", new NoGuest());
        if (row.Path != "/snapshot/load" || phase == "after")
        {
            await PrepareAsync(machine, row.Method == "PUT" ? row.Path : "");
        }

        if (phase == "after")
        {
            await Call(machine, "PUT", "/boot-source", $$"""{"kernel_image_path":"{{_folder["kernel"]}}"}""");
            await Call(machine, "PUT", "/actions", """{"action_type":"InstanceStart"}""");
            await Call(machine, "PATCH", "/vm", """{"state":"Paused"}""");
        }

        var brace = row.Path.IndexOf('{', StringComparison.Ordinal);
        var path = brace < 0 ? row.Path : row.Path[..brace] + (row.Method == "PUT" ? "new" : row.Path[1]);
        try
        {
            await machine.CallAsync(row.Method, path, body is null ? [] : Encoding.UTF8.GetBytes(body.ToJsonString()));
            return null;
        }
        catch (FaultException fault)
        {
            return fault.Message;
        }
    }

    /// <summary>A machine that has one of everything, but for what the row itself makes.</summary>
    private async Task PrepareAsync(Microvm machine, string except)
    {
        foreach (var (path, body) in ((string, string)[])
        [
            ("/machine-config", """{"vcpu_count":1,"mem_size_mib":256,"track_dirty_pages":true}"""),
            ("/boot-source", """{"kernel_image_path":"FOLDER/kernel"}"""),
            ("/drives/d", """{"drive_id":"d","is_root_device":true,"is_read_only":true,"path_on_host":"FOLDER/file"}"""),
            ("/pmem/p", """{"id":"p","path_on_host":"FOLDER/file"}"""),
            ("/network-interfaces/n", """{"iface_id":"n","host_dev_name":"tap0","guest_mac":"02:00:00:00:00:01"}"""),
            ("/balloon", """{"amount_mib":0,"deflate_on_oom":true,"stats_polling_interval_s":1,"free_page_hinting":true}"""),
            ("/mmds/config", """{"network_interfaces":["n"]}"""),
            ("/mmds", """{"a":1}"""),
            ("/hotplug/memory", """{"total_size_mib":1024}"""),
            ("/metrics", """{"metrics_path":"FOLDER/file"}"""),
        ])
        {
            if (path != except && (path, except) is not ("/mmds", "/mmds/config"))
            {
                await machine.CallAsync("PUT", path, Encoding.UTF8.GetBytes(body.Replace("FOLDER", _folder.Path, StringComparison.Ordinal)));
            }
        }
    }

    private static IEnumerable<string> Paths(JsonNode node, string prefix = "") => node switch
    {
        JsonObject inner => inner.SelectMany(pair => Paths(pair.Value!, prefix + pair.Key + ".").Prepend(prefix + pair.Key)),
        JsonArray list when list is [JsonObject first, ..] => Paths(first, prefix + "0."),
        _ => [],
    };

    private static IEnumerable<string> Paths(Shape? shape, string prefix) => shape switch
    {
        ObjectShape inner => inner.Fields.SelectMany(field => Paths(field.Shape, prefix + field.Name + ".").Prepend(prefix + field.Name)),
        ListShape list => Paths(list.Item, prefix + "0."),
        _ => [],
    };

    private static JsonNode? Get(JsonNode body, string path) =>
        path.Length == 0 ? body : path.Split('.').Aggregate((JsonNode?)body, (node, part) => node is JsonArray list ? list[0] : node![part]);

    private static void Set(JsonObject body, string path, JsonNode? value)
    {
        var dot = path.LastIndexOf('.');
        Get(body, dot < 0 ? "" : path[..dot])![path[(dot + 1)..]] = value?.DeepClone();
    }
}
