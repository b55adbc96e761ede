using System.Text;
using Hypervisor.Protocol.V1;
using Xunit;

namespace Hypervisor.Tests.Ctl.Commands;

/// <summary>Protects: each flag and each line of a specification sets the field it names, and nothing else.</summary>
public sealed class CreateTests
{
    public static TheoryData<string, string> Flags => new()
    {
        { "--type vm --image ubuntu --cpus 2 --memory 2048", """{"type":"INSTANCE_TYPE_VM","image":"ubuntu","resources":{"cpuMillicores":"2000","memoryBytes":"2147483648"}}""" },
        { "--cpus 500m --memory 512MiB --disk-space 1GiB", """{"resources":{"cpuMillicores":"500","memoryBytes":"536870912","diskBytes":"1073741824"}}""" },
        { "--device gpu --device nic=2 --device gpu=3", """{"resources":{"devices":{"gpu":3,"nic":2}}}""" },
        { "--cpus 0.25 --memory 1.5Gi", """{"resources":{"cpuMillicores":"250","memoryBytes":"1610612736"}}""" },
        { "--env A=1 --env B=x=y --env A=2 --env HOME", """{"process":{"env":[{"name":"A","value":"2"},{"name":"B","value":"x=y"},{"name":"HOME","value":"/home/me"}]}}""" },
        { "-p 8080:80 --publish 127.0.0.1:5353:53/udp", """{"network":{"ports":[{"hostPort":8080,"instancePort":80,"protocol":"IP_PROTOCOL_TCP"},{"hostPort":5353,"instancePort":53,"protocol":"IP_PROTOCOL_UDP","hostIp":"127.0.0.1"}]}}""" },
        { "--command sh --command=-c -- echo --loud", """{"process":{"command":["sh","-c"],"args":["echo","--loud"]}}""" },
        { "--hostname h --user 1000:1000 --workdir /srv", """{"process":{"hostname":"h","user":"1000:1000","workingDir":"/srv"}}""" },
        { "--read-only --cap-add NET_ADMIN --cap-drop ALL --seccomp unconfined --pids-limit 10", """{"security":{"readOnlyRoot":true,"capabilitiesAdd":["NET_ADMIN"],"capabilitiesDrop":["ALL"],"seccomp":"SECCOMP_MODE_UNCONFINED","pidsLimit":"10"}}""" },
        { "--region eu --zone a --node-selector disk=ssd --strategy spread", """{"constraints":{"region":"eu","zone":"a","nodeSelector":{"disk":"ssd"},"strategy":"PLACEMENT_STRATEGY_SPREAD"}}""" },
        { "--preferred-region eu --preferred-zone a --preferred-node n1 --preferred-label disk=ssd --preferred-label x= --strategy balanced", """{"constraints":{"preferredRegion":"eu","preferredZone":"a","preferredNode":"n1","preferredLabels":{"disk":"ssd","x":""},"strategy":"PLACEMENT_STRATEGY_BALANCED"}}""" },
        { "--affinity app=db@zone --preferred-affinity app=cache --affinity tier", """{"constraints":{"affinity":[{"selector":"app=db","topology":"zone"},{"selector":"tier"},{"selector":"app=cache","preferred":true}]}}""" },
        { "--preferred-anti-affinity app=web@example.com/rack --anti-affinity app=web", """{"constraints":{"antiAffinity":[{"selector":"app=web"},{"selector":"app=web","topology":"example.com/rack","preferred":true}]}}""" },
        { "--preferred-spread app=web@node:2 --spread app=web --spread app=web@zone", """{"constraints":{"spread":[{"selector":"app=web"},{"selector":"app=web","topology":"zone"},{"selector":"app=web","topology":"node","maxSkew":2,"preferred":true}]}}""" },
        { "--priority high", """{"constraints":{"priority":100}}""" },
        { "--priority -7", """{"constraints":{"priority":-7}}""" },
        { "--toleration gpu=a100:no-schedule --toleration *", """{"constraints":{"tolerations":[{"key":"gpu","value":"a100","effect":"TAINT_EFFECT_NO_SCHEDULE"},{}]}}""" },
        { "--stop-signal INT --stop-timeout 1m --on-disconnect stop", """{"stop":{"signal":"INT","gracePeriod":"60s"},"onDisconnect":"DISCONNECT_POLICY_STOP"}""" },
        { "--disk root=10 --disk data=1.5GiB,local", """{"disks":[{"name":"root","sizeBytes":"10737418240"},{"name":"data","sizeBytes":"1610612736","kind":"DISK_KIND_LOCAL"}]}""" },
        { "--firmware uefi --cpu-model host-model --accelerator kvm", """{"machine":{"firmware":"FIRMWARE_UEFI","cpuModel":"host-model","accelerator":"ACCELERATOR_REQUIREMENT_KVM"}}""" },
        { "--disk-read-rate 50MiB/s --disk-write-rate 64KiB --disk-read-iops 500 --disk-write-iops 0", """{"diskRates":{"readBytesPerSecond":"52428800","writeBytesPerSecond":"65536","readOperationsPerSecond":"500"}}""" },
        { "--network-receive-rate 2 --network-transmit-rate 1.5MB/s", """{"network":{"rates":{"receiveBytesPerSecond":"2097152","transmitBytesPerSecond":"1500000"}}}""" },
        { "--dns 1.1.1.1 --dns-search a.example", """{"network":{"dnsServers":["1.1.1.1"],"dnsSearch":["a.example"]}}""" },
    };

    [Theory]
    [MemberData(nameof(Flags))]
    public async Task A_flag_sets_its_field(string flags, string spec)
    {
        var request = await CreateAsync(new CtlRun { Variables = { ["HOME"] = "/home/me" } }, ["--name", "web", "--no-wait", .. flags.Split(' ')]);

        Assert.Equal(InstanceSpec.Parser.ParseJson(spec), request.Spec);
        Assert.Equal("web", request.Name);
    }

    [Fact]
    public async Task User_data_and_keys_come_from_files_and_from_the_command_line()
    {
        using var folder = new ScratchFolder();
        var (data, keys) = (Path.Combine(folder.Path, "user-data"), Path.Combine(folder.Path, "keys.pub"));
        await File.WriteAllTextAsync(data, "#cloud-config\npackages: [vim]\n", TestContext.Current.CancellationToken);
        await File.WriteAllTextAsync(keys, "# mine\nssh-ed25519 AAAA me\n\nssh-rsa BBBB other\n", TestContext.Current.CancellationToken);

        var request = await CreateAsync(
            new CtlRun(), ["web", "--no-wait", "--user-data", data, "--ssh-key", keys, "--ssh-key", "ecdsa-sha2-nistp256 CCCC third", "--ssh-key", keys]);

        Assert.Equal("#cloud-config\npackages: [vim]\n", request.Spec.CloudInit.UserData);
        var user = Assert.Single(request.Spec.CloudInit.Users);
        Assert.Equal(("admin", true), (user.Name, user.Sudo));
        Assert.Equal(["ssh-ed25519 AAAA me", "ssh-rsa BBBB other", "ecdsa-sha2-nistp256 CCCC third"], user.SshAuthorizedKeys);
    }

    [Theory]
    [InlineData("--disk root", "--disk: 'root' is no disk.")]
    [InlineData("--disk =5", "--disk: '=5' is no disk.")]
    [InlineData("--disk root=many", "--disk: 'root=many' is no disk.")]
    [InlineData("--disk root=5,fast", "--disk: 'fast' is not one of")]
    [InlineData("--device gpu=many", "--device: 'gpu=many' is no device.")]
    [InlineData("--device =1", "--device: '=1' is no device.")]
    [InlineData("--ssh-key KEY", "holds a private key")]
    [InlineData("--user-data KEY.none", "KEY.none does not exist")]
    [InlineData("--priority urgent", "--priority 'urgent' is no priority.")]
    public async Task What_is_no_disk_device_or_key_is_said_before_anything_is_asked(string flags, string complaint)
    {
        using var folder = new ScratchFolder();
        var key = Path.Combine(folder.Path, "KEY");
        await File.WriteAllTextAsync(key, "-----BEGIN OPENSSH PRIVATE KEY-----\n", TestContext.Current.CancellationToken);
        await using var server = await FakeServer.StartAsync();
        var run = new CtlRun();

        Assert.Equal(2, await run.RunAsync(server, ["instance", "create", "web", .. flags.Replace("KEY", key, StringComparison.Ordinal).Split(' ')]));

        Assert.Contains(complaint, run.Error, StringComparison.Ordinal);
        Assert.Empty(server.Compute.Requests);
    }

    [Fact]
    public async Task Labels_project_dry_run_and_request_id_are_sent()
    {
        var request = await CreateAsync(
            new CtlRun(), ["web", "--label", "a=b", "--annotation", "c=d", "--project", "p", "--dry-run", "--fail-fast", "--request-id", "r1"]);

        Assert.Equal("b", request.Labels["a"]);
        Assert.Equal("d", request.Annotations["c"]);
        Assert.Equal(("p", true, true, "r1"), (request.Project, request.DryRun, request.FailFast, request.RequestId));
    }

    [Fact]
    public async Task A_file_in_the_form_that_get_prints_is_taken_and_flags_override_it()
    {
        var yaml = """
            metadata:
              name: from-file
              uid: ignored
              generation: "7"
              labels: {tier: front}
            spec:
              type: container
              image: busybox
              resources: {cpu_millicores: 100, memoryBytes: 64MiB}
              stop: {gracePeriod: 2.5s}
              disk_rates: {readBytesPerSecond: 50MiB/s, write_operations_per_second: 100}
              network: {rates: {transmitBytesPerSecond: 1MiB}}
              process:
                args: ["httpd", "-f"]
                user: 1000
            status:
              state: INSTANCE_STATE_RUNNING
            """;

        var request = await CreateAsync(new CtlRun { Input = Encoding.UTF8.GetBytes(yaml) }, ["-f", "-", "--no-wait", "--cpus", "1", "--label", "x=y"]);

        Assert.Equal("from-file", request.Name);
        Assert.Equal(2, request.Labels.Count);
        Assert.Equal(
            InstanceSpec.Parser.ParseJson("""
                {"type":"INSTANCE_TYPE_CONTAINER","image":"busybox","resources":{"cpuMillicores":"1000","memoryBytes":"67108864"},
                 "diskRates":{"readBytesPerSecond":"52428800","writeOperationsPerSecond":"100"},"network":{"rates":{"transmitBytesPerSecond":"1048576"}},
                 "stop":{"gracePeriod":"2.500s"},"process":{"args":["httpd","-f"],"user":"1000"}}
                """),
            request.Spec);
    }

    [Fact]
    public async Task A_file_says_where_an_instance_may_be_and_had_better_be()
    {
        var yaml = """
            metadata: {name: web}
            spec:
              constraints:
                strategy: balanced
                preferredRegion: eu
                preferred_zone: a
                preferredNode: n1
                preferred_labels: {disk: ssd}
                affinity:
                  - {selector: app=db, topology: zone}
                anti_affinity:
                  - selector: "app in (web,api)"
                    preferred: true
                spread:
                  - {selector: app=web, topology: example.com/rack, maxSkew: 2}
                tolerations:
                  - {key: gpu, value: a100, effect: no-schedule}
                  - effect: TAINT_EFFECT_NO_EXECUTE
            """;

        var request = await CreateAsync(new CtlRun { Input = Encoding.UTF8.GetBytes(yaml) }, ["-f", "-", "--no-wait", "--preferred-affinity", "app=cache"]);

        Assert.Equal(
            InstanceSpec.Parser.ParseJson("""
                {"constraints":{"strategy":"PLACEMENT_STRATEGY_BALANCED","preferredRegion":"eu","preferredZone":"a","preferredNode":"n1",
                 "preferredLabels":{"disk":"ssd"},"affinity":[{"selector":"app=db","topology":"zone"},{"selector":"app=cache","preferred":true}],
                 "antiAffinity":[{"selector":"app in (web,api)","preferred":true}],
                 "spread":[{"selector":"app=web","topology":"example.com/rack","maxSkew":2}],
                 "tolerations":[{"key":"gpu","value":"a100","effect":"TAINT_EFFECT_NO_SCHEDULE"},{"effect":"TAINT_EFFECT_NO_EXECUTE"}]}}
                """),
            request.Spec);
    }

    [Fact]
    public async Task Several_documents_are_several_instances()
    {
        await using var server = await FakeServer.StartAsync();
        server.Compute.OnCreate = request => Samples.Instance(request.Name, InstanceState.Pending);
        var run = new CtlRun { Input = "metadata: {name: a}\n---\nmetadata: {name: b}\n---\n"u8.ToArray() };

        Assert.Equal(0, await run.RunAsync(server, "instance", "create", "-f", "-", "--no-wait"));

        Assert.Equal("a created\nb created\n", run.Out);
    }

    [Fact]
    public async Task Every_mistake_in_a_file_is_named_with_its_line_and_nothing_is_sent()
    {
        await using var server = await FakeServer.StartAsync();
        var yaml = """
            metadata:
              name: a
              colour: red
            spec:
              type: lorry
              resources:
                memoryBytes: much
            ---
            metadata: {name: b}
            spec:
              image: [x]
            """;
        var run = new CtlRun { Input = Encoding.UTF8.GetBytes(yaml) };

        Assert.Equal(2, await run.RunAsync(server, "instance", "create", "-f", "-"));

        Assert.Contains("stdin:3: metadata.colour: is not a field; known here: name, ", run.Error, StringComparison.Ordinal);
        Assert.Contains("stdin:5: spec.type: 'lorry' is not one of vm, container, microvm", run.Error, StringComparison.Ordinal);
        Assert.Contains("stdin:7: spec.resources.memoryBytes: 'much' is no number of bytes", run.Error, StringComparison.Ordinal);
        Assert.Contains("stdin:11: spec.image: wants a value, not a list", run.Error, StringComparison.Ordinal);
        Assert.Empty(server.Compute.Requests);
    }

    [Fact]
    public async Task Rates_are_shown_and_one_is_changed_beside_the_others()
    {
        await using var server = await FakeServer.StartAsync();
        var limited = Samples.Instance("web", InstanceState.Running, version: 42);
        limited.Spec.DiskRates = new() { ReadBytesPerSecond = 50 << 20, WriteOperationsPerSecond = 100 };
        limited.Spec.Network = new() { Rates = new() { TransmitBytesPerSecond = 1 << 20 } };
        (server.Compute.OnGet, server.Compute.OnUpdate) = (_ => limited, request => request.Instance);
        var (get, update) = (new CtlRun(), new CtlRun());

        Assert.Equal(0, await get.RunAsync(server, "instance", "get", "web"));
        Assert.Matches("(?m)^Disk rates: +read 50MiB/s, 100 writes/s$", get.Out);
        Assert.Matches("(?m)^Network rates: +transmit 1MiB/s$", get.Out);
        Assert.Equal(0, await update.RunAsync(server, "instance", "update", "web", "--network-receive-rate", "0", "--no-wait"));
        var request = (UpdateInstanceRequest)server.Compute.Requests[^1];
        Assert.Equal(["spec.network.rates.receive_bytes_per_second"], request.UpdateMask.Paths);
        Assert.Equal(1 << 20, request.Instance.Spec.Network.Rates.TransmitBytesPerSecond);
    }

    [Fact]
    public async Task Update_sends_only_what_was_typed_bound_to_the_version_it_read()
    {
        await using var server = await FakeServer.StartAsync();
        server.Compute.OnGet = _ => Samples.Instance("web", InstanceState.Running, version: 42);
        server.Compute.OnUpdate = request => request.Instance;
        var run = new CtlRun();

        Assert.Equal(0, await run.RunAsync(server, "instance", "update", "web", "--memory", "1GiB", "--label", "a=b", "--no-wait"));

        var request = (UpdateInstanceRequest)server.Compute.Requests[^1];
        Assert.Equal(["spec.resources.memory_bytes", "metadata.labels"], request.UpdateMask.Paths);
        Assert.Equal(42, request.Instance.Metadata.ResourceVersion);
        Assert.Equal(1L << 30, request.Instance.Spec.Resources.MemoryBytes);
        Assert.Equal(500, request.Instance.Spec.Resources.CpuMillicores);
    }

    [Fact]
    public async Task What_is_required_and_what_is_preferred_are_replaced_apart_and_named_once()
    {
        await using var server = await FakeServer.StartAsync();
        var current = Samples.Instance("web", InstanceState.Running);
        current.Spec.Constraints = PlacementConstraints.Parser.ParseJson("""
            {"antiAffinity":[{"selector":"a"},{"selector":"b","preferred":true}],"spread":[{"selector":"c"},{"selector":"d","preferred":true}],
             "preferredLabels":{"x":"1","y":"2"}}
            """);
        server.Compute.OnGet = _ => current.Clone();
        server.Compute.OnUpdate = request => request.Instance;

        Assert.Equal(0, await new CtlRun().RunAsync(
            server, "instance", "update", "web", "--no-wait", "--anti-affinity", "e", "--preferred-anti-affinity", "f", "--preferred-spread", "g",
            "--preferred-label", "x-"));

        var request = (UpdateInstanceRequest)server.Compute.Requests[^1];
        Assert.Equal(["spec.constraints.preferred_labels", "spec.constraints.anti_affinity", "spec.constraints.spread"], request.UpdateMask.Paths);
        Assert.Equal(
            PlacementConstraints.Parser.ParseJson("""
                {"antiAffinity":[{"selector":"e"},{"selector":"f","preferred":true}],"spread":[{"selector":"c"},{"selector":"g","preferred":true}],
                 "preferredLabels":{"y":"2"}}
                """),
            request.Instance.Spec.Constraints);
    }

    [Fact]
    public async Task An_import_is_streamed_in_small_parts()
    {
        await using var server = await FakeServer.StartAsync();
        var archive = new byte[3 * 1024 * 1024 + 17];
        new System.Random(1).NextBytes(archive);
        var run = new CtlRun { Input = archive };

        Assert.Equal(0, await run.RunAsync(server, "image", "import", "-", "--name", "busybox:1"));

        Assert.Equal(archive, server.Compute.Imported);
        Assert.InRange(server.Compute.LargestChunk, 1, 1024 * 1024);
        Assert.Equal("busybox:1 imported: 3MiB, sha256:00\n", run.Out);
    }

    private static async Task<CreateInstanceRequest> CreateAsync(CtlRun run, string[] words)
    {
        await using var server = await FakeServer.StartAsync();
        server.Compute.OnCreate = request => Samples.Instance(request.Name, InstanceState.Pending);
        var exitCode = await run.RunAsync(server, ["instance", "create", .. words]);
        Assert.True(exitCode == 0, run.Error);
        return (CreateInstanceRequest)server.Compute.Requests.Single();
    }
}
