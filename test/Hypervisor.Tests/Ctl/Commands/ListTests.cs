using Hypervisor.Protocol.V1;
using Xunit;

namespace Hypervisor.Tests.Ctl.Commands;

/// <summary>Protects: lists look as promised in every format, and json and yaml say exactly what the API says.</summary>
public sealed class ListTests
{
    private static ListInstancesResponse Two => new()
    {
        Instances =
        {
            Samples.Instance("web", InstanceState.Running),
            Samples.Instance("a-longer-name", InstanceState.Pending, "InsufficientMemory", observed: 0),
        },
        List = new() { ResourceVersion = (1L << 48) + 7 },
    };

    private static Taint[] Taints =>
    [
        new() { Key = "gpu", Value = "a100", Effect = TaintEffect.NoSchedule },
        new() { Key = "old", Effect = TaintEffect.PreferNoSchedule },
    ];

    [Fact]
    public async Task The_table_is_aligned_and_has_no_trailing_spaces()
    {
        await using var server = await FakeServer.StartAsync();
        server.Compute.OnList = _ => Two;
        var run = new CtlRun();

        Assert.Equal(0, await run.RunAsync(server, "instance", "list"));

        Assert.Equal(
            """
            NAME            TYPE        STATE                          NODE   ADDRESS     DRIVER   AGE
            web             container   RUNNING                        n1     10.88.0.5   -        5m
            a-longer-name   container   PENDING (InsufficientMemory)   -      -           -        5m

            """,
            run.Out);
        Assert.Equal("", run.Error);
        Assert.Equal(InstanceView.Summary, ((ListInstancesRequest)server.Compute.Requests.Single()).View);
    }

    [Fact]
    public async Task A_stale_list_is_asked_for_and_says_how_old_it_is_beside_the_answer()
    {
        await using var server = await FakeServer.StartAsync();
        server.Compute.OnList = _ => new() { List = new() { Age = Google.Protobuf.WellKnownTypes.Duration.FromTimeSpan(TimeSpan.FromSeconds(2.34)) } };
        var run = new CtlRun();

        Assert.Equal(0, await run.RunAsync(server, "instance", "list", "--stale", "-o", "name"));

        Assert.Equal(("", "As of 2.3 s ago.\n"), (run.Out, run.Error));
        Assert.Equal(Consistency.Stale, ((ListInstancesRequest)server.Compute.Requests.Single()).Consistency);
        Assert.Equal(2, await new CtlRun().RunAsync(server, "instance", "list", "--stale", "--watch"));
    }

    [Fact]
    public async Task Json_is_the_list_response_with_lower_camel_names_and_long_numbers_as_text()
    {
        await using var server = await FakeServer.StartAsync();
        server.Compute.OnList = _ => Two;
        var run = new CtlRun();

        Assert.Equal(0, await run.RunAsync(server, "instance", "list", "-o", "json"));

        Assert.Equal(Two, ListInstancesResponse.Parser.ParseJson(run.Out));
        Assert.Contains("\"resourceVersion\": \"281474976710663\"", run.Out, StringComparison.Ordinal);
        Assert.Contains("\"memoryBytes\": \"536870912\"", run.Out, StringComparison.Ordinal);
        Assert.Contains("\"state\": \"INSTANCE_STATE_RUNNING\"", run.Out, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Yaml_says_the_same()
    {
        await using var server = await FakeServer.StartAsync();
        server.Compute.OnList = _ => new() { Instances = { Samples.Instance("web", InstanceState.Running) }, List = new() { ResourceVersion = 7 } };
        var run = new CtlRun();

        Assert.Equal(0, await run.RunAsync(server, "instance", "list", "-o", "yaml"));

        Assert.Equal(
            """
            instances:
              - metadata:
                  name: web
                  project: default
                  uid: uid-web
                  generation: "1"
                  resourceVersion: "10"
                  createdAt: "2026-11-23T11:55:00Z"
                spec:
                  type: INSTANCE_TYPE_CONTAINER
                  image: busybox
                  resources:
                    cpuMillicores: "500"
                    memoryBytes: "536870912"
                  desiredState: DESIRED_STATE_RUNNING
                placement:
                  node: n1
                status:
                  state: INSTANCE_STATE_RUNNING
                  observedGeneration: "1"
                  ipAddresses:
                    - "10.88.0.5"
            list:
              resourceVersion: "7"

            """,
            run.Out);
    }

    [Fact]
    public async Task All_pages_are_read()
    {
        await using var server = await FakeServer.StartAsync();
        server.Compute.OnList = request => request.PageToken.Length == 0
            ? new() { Instances = { Samples.Instance("a", InstanceState.Running) }, List = new() { NextPageToken = "more" } }
            : new() { Instances = { Samples.Instance("b", InstanceState.Running) }, List = new() };
        var run = new CtlRun();

        Assert.Equal(0, await run.RunAsync(server, "instance", "list", "-o", "name"));

        Assert.Equal("a\nb\n", run.Out);
    }

    [Fact]
    public async Task Filters_reach_the_server()
    {
        await using var server = await FakeServer.StartAsync();
        server.Compute.OnList = _ => new();
        var run = new CtlRun();

        Assert.Equal(0, await run.RunAsync(
            server, "instance", "list", "-A", "-l", "a=b", "--state", "running", "--state", "FAILED", "--type", "microvm", "--node", "n1"));

        var request = (ListInstancesRequest)server.Compute.Requests.Single();
        Assert.Equal("-", request.Project);
        Assert.Equal("a=b", request.LabelSelector);
        Assert.Equal([InstanceState.Running, InstanceState.Failed], request.States);
        Assert.Equal([InstanceType.Microvm], request.Types_);
        Assert.Equal("n1", request.Node);
        Assert.Contains("No instances.", run.Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Nothing_the_server_sends_can_drive_the_terminal()
    {
        await using var server = await FakeServer.StartAsync();
        var hostile = Samples.Instance("web", InstanceState.Failed, "\e]0;owned\a\n\u202Ex");
        server.Compute.OnList = _ => new() { Instances = { hostile } };
        foreach (var format in new[] { "table", "json", "yaml" })
        {
            var run = new CtlRun { Terminal = true, Width = 200, Variables = { ["NO_COLOR"] = "1" } };

            Assert.Equal(0, await run.RunAsync(server, "instance", "list", "-o", format));

            Assert.DoesNotContain('\e', run.Out);
            Assert.DoesNotContain('\a', run.Out);
            Assert.DoesNotContain('\u202E', run.Out);
        }
    }

    [Fact]
    public async Task A_terminal_gets_colour_and_lines_of_its_width()
    {
        await using var server = await FakeServer.StartAsync();
        server.Compute.OnList = _ => Two;
        var run = new CtlRun { Terminal = true, Width = 40 };

        Assert.Equal(0, await run.RunAsync(server, "instance", "list"));

        Assert.Contains("\e[32mRUNNING\e[0m", run.Out, StringComparison.Ordinal);
        Assert.All(run.Out.Split('\n'), line => Assert.True(line.Replace("\e[32m", "").Replace("\e[33m", "").Replace("\e[0m", "").Length <= 40, line));
    }

    [Fact]
    public async Task Nodes_show_status_share_and_place()
    {
        await using var server = await FakeServer.StartAsync();
        server.Cluster.OnList = _ => new()
        {
            Nodes =
            {
                new Node
                {
                    Metadata = new() { Name = "n1" },
                    Spec = new() { Scheduling = NodeScheduling.Cordoned },
                    Status = new()
                    {
                        Liveness = NodeLiveness.Ready,
                        InstanceCount = 2,
                        Allocated = new() { CpuMillicores = 1500, MemoryBytes = 512L << 20 },
                        Inventory = new() { Role = "worker", Region = "eu", Zone = "a", Capacity = new() { CpuMillicores = 4000, MemoryBytes = 24L << 30 } },
                    },
                },
            },
        };
        var run = new CtlRun();

        Assert.Equal(0, await run.RunAsync(server, "node", "list"));

        Assert.Equal(
            """
            NAME   STATUS           ROLE     ZONE   GUESTS   INSTANCES   CPUS    MEMORY         AGE
            n1     READY,CORDONED   worker   eu/a   -        2           1.5/4   512MiB/24GiB   -

            """,
            run.Out);
    }

    [Fact]
    public async Task A_wide_list_of_nodes_has_their_devices_and_taints()
    {
        await using var server = await FakeServer.StartAsync();
        server.Cluster.OnList = _ => new()
        {
            Nodes =
            {
                new Node
                {
                    Metadata = new() { Name = "n1" },
                    Spec = new() { Taints = { Taints } },
                    Status = new() { Allocated = new() { Devices = { ["gpu"] = 1 } }, Inventory = new() { Capacity = new() { Devices = { ["nic"] = 4, ["gpu"] = 2 } } } },
                },
                new Node { Metadata = new() { Name = "n2" } },
            },
        };
        var run = new CtlRun();

        Assert.Equal(0, await run.RunAsync(server, "node", "list", "-o", "wide"));

        Assert.Matches("""(?m)^NAME .* DEVICES +TAINTS +RUNTIMES .*\n^n1 .* gpu 1/2, nic 0/4 +gpu=a100:no-schedule, old:prefer-no-schedule +- .*\n^n2 """, run.Out);
    }

    [Fact]
    public async Task A_node_in_detail_has_what_may_be_placed_and_what_keeps_instances_away()
    {
        await using var server = await FakeServer.StartAsync();
        server.Cluster.OnGet = _ => new()
        {
            Metadata = new() { Name = "n1" },
            Spec = new()
            {
                Taints = { Taints },
                Overcommit = new() { Cpu = 4, Memory = 1 },
                Reserved = new() { CpuMillicores = 500, MemoryBytes = 1L << 30 },
            },
            Status = new()
            {
                Liveness = NodeLiveness.Ready,
                Allocated = new() { CpuMillicores = 1500, MemoryBytes = 512L << 20, Devices = { ["gpu"] = 1 } },
                Allocatable = new() { CpuMillicores = 14000, MemoryBytes = 23L << 30 },
                Inventory = new() { Capacity = new() { CpuMillicores = 4000, MemoryBytes = 24L << 30, Devices = { ["gpu"] = 2 } } },
            },
        };
        var run = new CtlRun();

        Assert.Equal(0, await run.RunAsync(server, "node", "get", "n1"));

        Assert.Equal(
            """
            Name:        n1
            Status:      READY
            Taints:      gpu=a100:no-schedule, old:prefer-no-schedule
            CPUs:        1.5/4, 14 allocatable
            Memory:      512MiB/24GiB, 23GiB allocatable
            Disk:        0B/0B, 0B allocatable
            Devices:     gpu 1/2
            Overcommit:  CPUs x4
            Reserve:     CPUs 0.5, memory 1GiB
            Instances:   0

            """,
            run.Out);
    }

    [Fact]
    public async Task Cordon_changes_scheduling_only()
    {
        await using var server = await FakeServer.StartAsync();
        var run = new CtlRun();

        Assert.Equal(0, await run.RunAsync(server, "node", "cordon", "n1"));

        Assert.Equal(["spec.scheduling"], server.Cluster.Updated!.UpdateMask.Paths);
        Assert.Equal(NodeScheduling.Cordoned, server.Cluster.Updated.Node.Spec.Scheduling);
        Assert.Equal("n1 cordoned\n", run.Out);
    }

    [Fact]
    public async Task Drain_promises_only_what_happens()
    {
        await using var server = await FakeServer.StartAsync();
        var run = new CtlRun();

        Assert.Equal(0, await run.RunAsync(server, "node", "drain", "n1"));

        Assert.Equal(NodeScheduling.Draining, server.Cluster.Updated!.Node.Spec.Scheduling);
        Assert.Equal("n1 is draining: it takes no new instances, and those it has move away as others have room; ones with local disks stay\n", run.Out);
    }

    [Fact]
    public async Task What_holds_a_drain_up_is_shown_by_drain_and_by_get()
    {
        const string Message = "The drain waits for 1 instance: default/db (it has a local disk).";
        await using var server = await FakeServer.StartAsync();
        var node = new Node
        {
            Metadata = new() { Name = "n1", Uid = "u1" },
            Status = new() { Conditions = { new Condition { Type = "Drained", Status = ConditionStatus.False, Reason = "HeldUp", Message = Message } } },
        };
        (server.Cluster.OnUpdate, server.Cluster.OnGet) = (_ => node, _ => node);
        var (drain, get) = (new CtlRun(), new CtlRun());

        Assert.Equal(0, await drain.RunAsync(server, "node", "drain", "n1"));
        Assert.EndsWith($"\n{Message} 'hypervisor-ctl node get n1' says how far it is.\n", drain.Out, StringComparison.Ordinal);
        Assert.Equal(0, await get.RunAsync(server, "node", "get", "n1"));
        Assert.Matches($"(?m)^Drain: +{System.Text.RegularExpressions.Regex.Escape(Message)}$", get.Out);
    }
}
