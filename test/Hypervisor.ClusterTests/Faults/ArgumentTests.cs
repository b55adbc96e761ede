using System.Text;
using Google.Rpc;
using Grpc.Core;
using Hypervisor.Protocol.V1;
using Hypervisor.TestCluster;
using Xunit;

namespace Hypervisor.ClusterTests.Faults;

/// <summary>
/// Protects: what a user writes reaches the process as it is, byte for byte, through API, store, containerd and runc, or is refused
/// with the path of its field; nothing on the way takes any of it for an option, a separator or a command.
/// </summary>
[Collection(OneCluster.Name)]
[Trait(StoreTrait.Name, StoreTrait.Either)]
public sealed class ArgumentTests(OneCluster fixture)
{
    /// <summary>Hostile text, and whether it may be part of a path.</summary>
    private static readonly (string Text, bool InPath)[] Hostile =
    [
        ("two words", true), (" ", true), ("-rf", true), ("--", true), ("--privileged=true", true), ("a,b=c", true),
        ("line\nbreak", false), ("tab\there", false), ("\"double\"", true), ("'single'", true), ("$(touch /tmp/canary)", true),
        ("`touch /tmp/canary`", true), ("${HOME}", true), ("; reboot", true), ("*", true), ("back\\slash", true), ("虚拟机", true),
        ("\U0001F5A5", true), ("%s%n", true), ("<&>", true), ("{\"key\":1}", true),
    ];

    private LocalCluster Cluster => fixture.Cluster;

    public static TheoryData<string, bool> Texts
    {
        get
        {
            var data = new TheoryData<string, bool>();
            foreach (var (text, inPath) in Hostile)
            {
                data.Add(text, inPath);
            }

            return data;
        }
    }

    [Theory]
    [MemberData(nameof(Texts))]
    public async Task Hostile_text_arrives_as_it_is(string text, bool inPath)
    {
        const string script = "while :; do sleep 1000; done";
        var baseline = await fixture.BeginAsync();
        var request = Instances.Request("hostile", "busybox", "sh", "-c", script, text);
        request.Spec.Process.Args.Add([text, "", text + text]);
        request.Spec.Process.Env.Add(new EnvVar { Name = "HOSTILE", Value = text });
        request.Spec.Process.WorkingDir = inPath ? "/tmp/" + text : "/tmp";

        await Cluster.CreateAsync(request);
        var process = Cluster.ProcessOf(await Cluster.RunningAsync("hostile"));
        await RealTime.UntilAsync("the shell runs", TimeSpan.FromSeconds(10), () => Words(process, "cmdline")[0] == "sh");

        Assert.Equal(["sh", "-c", script, text, text, "", text + text], Words(process, "cmdline"));
        Assert.Contains("HOSTILE=" + text, Words(process, "environ"));
        Assert.Equal(request.Spec.Process.WorkingDir, new FileInfo($"/proc/{process}/cwd").LinkTarget);
        Assert.False(File.Exists("/tmp/canary"));
        Assert.False(File.Exists($"/proc/{process}/root/tmp/canary"));
        await Cluster.DeleteAsync("hostile");
        await Cluster.LeavesAsync(baseline, "the instance");
    }

    public static TheoryData<string> RefusedTexts => [.. Hostile.Select(hostile => hostile.Text), "nul\0inside", "\u001b[31m", "../../etc"];

    [Theory]
    [MemberData(nameof(RefusedTexts))]
    public async Task Where_it_would_be_a_name_it_is_refused_with_its_field(string text)
    {
        var request = Instances.Request(text, text, "sleep", "1");
        request.Project = text;
        request.Spec.Process.User = text;
        request.Spec.Process.Hostname = text;
        request.Spec.Process.Env.Add(new EnvVar { Name = text + "=", Value = "" });
        request.Spec.Network = new NetworkSpec { DnsServers = { text }, DnsSearch = { text } };
        request.Spec.Stop.Signal = text;
        request.Labels.Add(text, "");

        var fields = await RefusedFieldsAsync(request);

        string[] expected =
        [
            "name", "project", "spec.image", "spec.process.user", "spec.process.hostname", "spec.process.env[0].name",
            "spec.network.dns_servers[0]", "spec.network.dns_search[0]", "spec.stop.signal",
        ];
        Assert.Empty(expected.Except(fields));
        Assert.Contains(fields, field => field.StartsWith("labels[", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("nul\0inside")]
    [InlineData("escape\u001b[31m")]
    [InlineData("bell\a")]
    public async Task What_no_process_or_terminal_may_get_is_refused_everywhere_at_once(string text)
    {
        var request = Instances.Request("fine", "busybox", "sh", text);
        request.Spec.Process.Args.Add([text, "fine", text]);
        request.Spec.Process.Env.Add(new EnvVar { Name = "FINE", Value = text });
        request.Spec.Process.WorkingDir = "/" + text;
        request.Annotations.Add("note", text);

        Assert.Equal(
            [
                "annotations[note]", "spec.process.args[0]", "spec.process.args[2]", "spec.process.command[1]", "spec.process.env[0].value",
                "spec.process.working_dir",
            ],
            (await RefusedFieldsAsync(request)).Order(StringComparer.Ordinal));
    }

    private async Task<IReadOnlyList<string>> RefusedFieldsAsync(CreateInstanceRequest request)
    {
        var refusal = await Assert.ThrowsAsync<RpcException>(() => Cluster.CreateAsync(request));
        Assert.Equal(StatusCode.InvalidArgument, refusal.StatusCode);
        Assert.DoesNotContain(refusal.Status.Detail, character => char.IsControl(character));
        var trailer = refusal.Trailers.GetValueBytes("grpc-status-details-bin");
        var details = Google.Rpc.Status.Parser.ParseFrom(trailer).Details.Single(detail => detail.Is(BadRequest.Descriptor));
        return [.. details.Unpack<BadRequest>().FieldViolations.Select(violation => violation.Field)];
    }

    private static string[] Words(int process, string file) =>
        Encoding.UTF8.GetString(File.ReadAllBytes($"/proc/{process}/{file}")) is { Length: > 0 } text ? text[..^1].Split('\0') : [""];
}
