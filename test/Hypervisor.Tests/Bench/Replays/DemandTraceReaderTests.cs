using Hypervisor.Bench.Replays;
using Hypervisor.Hosting.Configuration;
using Hypervisor.TestCluster;
using Xunit;

namespace Hypervisor.Tests.Bench.Replays;

/// <summary>Protects whoever replays a recorded demand: a line means what the API would take it for, and a mistake is named with its line.</summary>
public sealed class DemandTraceReaderTests
{
    private const string Web = """{"at": "0s", "create": {"name": "web", "spec": {"type": "INSTANCE_TYPE_CONTAINER", "image": "busybox"}}}""";

    [Fact]
    public void The_example_is_a_trace()
    {
        var trace = DemandTraceReader.LoadFile(Path.Combine(LocalCluster.Repository, "configs/demand.example.jsonl"));

        Assert.Equal(TimeSpan.FromHours(1), trace.Lasts);
        Assert.Equal(10, trace.Events.Count(each => each.Wanted is not null));
        Assert.Equal(7, trace.Events.Count(each => each.Wanted is null));
    }

    [Fact]
    public void What_is_left_out_is_what_the_API_makes_of_it_and_the_same_is_kept_once()
    {
        var trace = Read(Web, "", Web.Replace("web", "other", StringComparison.Ordinal));

        Assert.Equal(1000, trace.Events[0].Wanted!.Spec.Resources.CpuMillicores);
        Assert.Equal("default", trace.Events[0].Wanted!.Project);
        Assert.Same(trace.Events[0].Wanted, trace.Events[1].Wanted);
    }

    [Fact]
    public void A_name_that_comes_back_is_another_instance()
    {
        var trace = Read(Web, """{"at": "1s", "delete": {"instance": "web"}}""", Web.Replace("0s", "2s", StringComparison.Ordinal));

        Assert.Equal([0, 0, 1], trace.Events.Select(each => each.Instance));
    }

    [Theory]
    [InlineData("web", "demand.jsonl:2: is not JSON (column 1) – write one object in each line")]
    [InlineData("[]", "demand.jsonl:2: is array – write one object in each line")]
    [InlineData("""{"at": "1s"}""", "demand.jsonl:2: create: is missing, and delete too – write one of them in each line")]
    [InlineData("""{"at": "1s", "delte": {}}""", "demand.jsonl:2: delte: is not a known key – write at, and create or delete")]
    [InlineData("""{"delete": {"instance": "web"}}""", "demand.jsonl:2: at: is missing – write the time since the beginning as \"90s\" or \"1h30m\"")]
    [InlineData("""{"at": 5, "delete": {"instance": "web"}}""", "demand.jsonl:2: at: is not a duration (5) – write the time since the beginning as \"90s\" or \"1h30m\"")]
    [InlineData("""{"at": "1s", "delete": {"instance": "db"}}""", "demand.jsonl:2: delete.instance: is not there (db) – write the name of one that was created in a line above")]
    [InlineData(Web, "demand.jsonl:2: create.name: is there already (web) – delete it before it is created again, or give it another name")]
    [InlineData("""{"at": "1s", "create": {"name": "db"}}""", "demand.jsonl:2: create.spec: is required.")]
    public void A_mistake_is_named_with_its_line(string line, string expected)
    {
        var refused = Assert.Throws<ConfigurationException>(() => Read(Web, line));

        Assert.Contains(expected, refused.Errors);
    }

    [Fact]
    public void Lines_are_in_order_of_time()
    {
        var refused = Assert.Throws<ConfigurationException>(() => Read(Web.Replace("0s", "9s", StringComparison.Ordinal), """{"at": "1s", "delete": {"instance": "web"}}"""));

        Assert.Equal("demand.jsonl:2: at: is before the line above (1s after 9s) – order the lines by time", refused.Message);
    }

    [Fact]
    public void A_create_is_judged_as_the_API_judges_it()
    {
        var refused = Assert.Throws<ConfigurationException>(() => Read(
            """{"at": "0s", "create": {"name": "db", "spec": {"type": "INSTANCE_TYPE_CONTAINER", "image": "busybox", "resources": {"cpuMillicores": "-1"}}}}""",
            """{"at": "0s", "create": {"name": "db", "spec": {"colour": 1}}}"""));

        Assert.StartsWith("demand.jsonl:1: create.spec.resources.cpu_millicores: ", refused.Errors[0]);
        Assert.StartsWith("demand.jsonl:2: create: is not a CreateInstanceRequest", refused.Errors[1]);
    }

    [Fact]
    public void A_line_without_end_is_not_read()
    {
        var refused = Assert.Throws<ConfigurationException>(() => Read(new string(' ', DemandTraceReader.MaxLineCharacters + 1)));

        Assert.Equal("demand.jsonl:1: has 65537 characters – at most 65536 in a line", refused.Message);
    }

    private static DemandTrace Read(params string[] lines) => new DemandTraceReader("demand.jsonl").Read(lines);
}
