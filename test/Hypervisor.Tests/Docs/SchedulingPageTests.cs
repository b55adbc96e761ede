using System.Collections;
using System.Text;
using System.Text.RegularExpressions;
using Google.Protobuf;
using Google.Protobuf.Reflection;
using Grpc.Core;
using Hypervisor.Ctl.Specs;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Configuration;
using Hypervisor.Tests.Ctl;
using Hypervisor.Tests.Server;
using Xunit;

namespace Hypervisor.Tests.Docs;

/// <summary>Protects whoever plans by docs/scheduling.md: its examples do what it says, and no field is missing from it.</summary>
public sealed partial class SchedulingPageTests : IAsyncLifetime
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);

    private readonly CancellationTokenSource _deadline = CancellationTokenSource.CreateLinkedTokenSource(TestContext.Current.CancellationToken);
    private readonly List<IDisposable> _beats = [];
    private RunningServer? _server;

    private CancellationToken Token => _deadline.Token;

    private ComputeService.ComputeServiceClient Compute => new(_server!.Channel);

    private ClusterService.ClusterServiceClient Cluster => new(_server!.Channel);

    public static TheoryData<int> Lines() => [.. SchedulingExample.All.Select(example => example.Line)];

    /// <summary>Of each message all fields, and under which heading they are explained.</summary>
    public static TheoryData<string, string> Fields()
    {
        var fields = new TheoryData<string, string>();
        foreach (var (message, heading) in new[]
        {
            (PlacementConstraints.Descriptor, "What an instance asks for"),
            (AffinityTerm.Descriptor, "Affinity and anti-affinity"),
            (SpreadConstraint.Descriptor, "Spread"),
            (Toleration.Descriptor, "Tolerations"),
            (NodeSpec.Descriptor, "What a node takes"),
            (Taint.Descriptor, "Taints"),
            (Overcommit.Descriptor, "Overcommit and reserve"),
            (GroupSpec.Descriptor, "Groups"),
            (InstanceTemplate.Descriptor, "Groups"),
            (RollingUpdate.Descriptor, "Updates"),
            (DisruptionBudget.Descriptor, "Disruption"),
        })
        {
            foreach (var field in message.Fields.InDeclarationOrder())
            {
                fields.Add(heading, field.Name);
            }
        }

        return fields;
    }

    public ValueTask InitializeAsync()
    {
        _deadline.CancelAfter(Patience);
        return ValueTask.CompletedTask;
    }

    public async ValueTask DisposeAsync()
    {
        _beats.ForEach(beat => beat.Dispose());
        if (_server is not null)
        {
            await _server.DisposeAsync();
        }

        _deadline.Dispose();
    }

    [Theory]
    [MemberData(nameof(Lines))]
    public async Task What_an_example_creates_goes_where_the_page_says(int line)
    {
        var example = SchedulingExample.All.Single(example => example.Line == line);
        await StartAsync(example);
        if (example.IsGroup)
        {
            await RunAsync(Encoding.UTF8.GetBytes(example.Text), "group", "create", "-f", "-", "--no-wait");
            return;
        }

        if (example.Language == "yaml")
        {
            foreach (var (number, expected) in example.Expected.Index())
            {
                var name = $"web-{number + 1}";
                await RunAsync(Encoding.UTF8.GetBytes(example.Text), "instance", "create", name, "--type", "container", "--image", "busybox", "-f", "-", "--no-wait");
                await AssertAsync(name, "", expected);
            }

            return;
        }

        var outcomes = new Queue<string>(example.Expected);
        foreach (var (command, output) in example.Commands())
        {
            var words = SchedulingExample.Words(command);
            if (words is ["group", "why", ..])
            {
                await ComesToAsync(output, words);
                continue;
            }

            if (words is not ["instance", "create", var name, ..])
            {
                Matches(output, await RunAsync([], words));
                continue;
            }

            // No agent is there that could start it.
            await RunAsync([], [.. words, "--no-wait"]);
            await AssertAsync(name, "", outcomes.Dequeue());
        }

        Assert.Empty(outcomes);
    }

    [Fact]
    public void No_example_goes_unread() => Assert.Equal(SchedulingExample.Fences, SchedulingExample.All.Count);

    [Theory]
    [MemberData(nameof(Fields))]
    public void Every_field_is_explained_under_its_heading(string heading, string field) =>
        Assert.Contains($"`{field}`", Section(heading), StringComparison.Ordinal);

    [Fact]
    public void Every_strategy_and_every_effect_is_explained()
    {
        Assert.All(
            Enum.GetValues<PlacementStrategy>().Where(strategy => strategy != PlacementStrategy.Unspecified),
            strategy => Assert.Contains($"`{strategy.ToString().ToLowerInvariant()}`", Section("Strategy"), StringComparison.Ordinal));
        Assert.All(TaintEffects.Words, word => Assert.Contains($"`{word}`", Section("Taints"), StringComparison.Ordinal));
    }

    [Fact]
    public void Every_field_of_constraints_is_in_a_file_that_is_run()
    {
        var unset = new[] { PlacementConstraints.Descriptor, AffinityTerm.Descriptor, SpreadConstraint.Descriptor, Toleration.Descriptor }
            .SelectMany(message => message.Fields.InDeclarationOrder()).ToHashSet();
        foreach (var example in SchedulingExample.All.Where(example => example is { Language: "yaml", IsGroup: false }))
        {
            using var run = new CtlRun { Input = Encoding.UTF8.GetBytes(example.Text) };
            Unset(Assert.Single(SpecFile.Read(run.Environment(), "-")).Spec.Constraints ?? new(), unset);
        }

        Assert.Empty(unset.Select(field => field.FullName));
    }

    private static void Unset(IMessage message, HashSet<FieldDescriptor> fields)
    {
        foreach (var field in message.Descriptor.Fields.InDeclarationOrder())
        {
            var value = field.Accessor.GetValue(message);
            if (value is not (null or "" or false or 0 or ICollection { Count: 0 }) && !(value is Enum word && Convert.ToInt32(word, null) == 0))
            {
                fields.Remove(field);
            }

            foreach (var inner in value is IList { Count: > 0 } list ? list.OfType<IMessage>() : [])
            {
                Unset(inner, fields);
            }
        }
    }

    /// <summary>From a heading to the next one that is not below it.</summary>
    private static string Section(string heading)
    {
        var match = Heading().Matches(SchedulingExample.Page).Single(match => match.Groups["text"].Value == heading);
        var depth = match.Groups["depth"].Length;
        var end = Heading().Matches(SchedulingExample.Page).FirstOrDefault(next => next.Index > match.Index && next.Groups["depth"].Length <= depth);
        return SchedulingExample.Page[match.Index..(end?.Index ?? SchedulingExample.Page.Length)];
    }

    private static void Matches(string expected, string output) =>
        Assert.True(expected.Length == 0 || IsLike(expected, output), $"The page shows\n{expected}\nand what came was\n{output}");

    private static bool IsLike(string expected, string output)
    {
        var pattern = string.Join(@"\s+", expected.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries)
            .Select(word => Regex.Escape(word).Replace(@"\.\.\.", ".*", StringComparison.Ordinal)));
        return Regex.IsMatch(output, $@"^\s*{pattern}\s*$");
    }

    /// <summary>What the leader does is done soon after a command.</summary>
    private async Task ComesToAsync(string expected, string[] words)
    {
        var output = "";
        try
        {
            await UntilAsync(async () => IsLike(expected, output = await RunAsync([], words)));
        }
        catch (OperationCanceledException)
        {
            Matches(expected, output);
            throw;
        }
    }

    private async Task StartAsync(SchedulingExample example)
    {
        // One beat lasts for the whole example.
        _server = await RunningServer.StartAsync(Token, configuration => configuration with { Heartbeat = new HeartbeatConfiguration { Timeout = TimeSpan.FromMinutes(10) } });
        foreach (var node in example.Nodes)
        {
            var registered = await Cluster.RegisterNodeAsync(node, cancellationToken: Token);
            var beat = Cluster.Heartbeat(new Metadata { { "authorization", $"Bearer {registered.Credential}" } }, cancellationToken: Token);
            _beats.Add(beat);
            await beat.RequestStream.WriteAsync(new() { NodeUid = registered.Node.Metadata.Uid, Sequence = 1 }, Token);
        }

        await UntilAsync(async () => (await Cluster.ListNodesAsync(new(), cancellationToken: Token)).Nodes.All(node => node.Status.Liveness == NodeLiveness.Ready));
        foreach (var (request, node) in example.There)
        {
            await Compute.CreateInstanceAsync(request, cancellationToken: Token);
            await AssertAsync(request.Name, request.Project, node);
        }

        foreach (var command in example.Before)
        {
            await RunAsync([], SchedulingExample.Words(command));
        }
    }

    private async Task<string> RunAsync(byte[] input, params string[] words)
    {
        using var run = new CtlRun { Input = input, Clock = RealClock.Instance, Variables = { ["HYPERVISOR_SERVER"] = _server!.Channel.Target } };
        var exitCode = await run.RunAsync(server: null, words);
        Assert.True(exitCode == 0, $"{string.Join(' ', words)}: {run.Error}");
        return run.Out;
    }

    private async Task AssertAsync(string name, string project, string expected)
    {
        Instance instance = new();
        var waits = expected.StartsWith(SchedulingExample.Waits, StringComparison.Ordinal);
        try
        {
            await UntilAsync(async () =>
            {
                instance = await Compute.GetInstanceAsync(new() { Project = project, Instance = name }, cancellationToken: Token);

                // The leader may find somebody who makes room after it said that there is none.
                return instance.Placement.Node.Length > 0
                    || (waits && instance.Placement.Message.Contains(expected[SchedulingExample.Waits.Length..], StringComparison.Ordinal));
            });
        }
        catch (OperationCanceledException)
        {
            Assert.Fail($"{name} should be {expected}: {instance.Placement}");
        }

        Assert.True((waits ? "" : expected) == instance.Placement.Node, $"{name} should be on {expected}: {instance.Placement}");
        Assert.True(!waits || instance.Status.State == InstanceState.Pending, $"{name}: {instance.Status}");
    }

    private async Task UntilAsync(Func<Task<bool>> holds)
    {
        while (!await holds())
        {
            await Task.Delay(TimeSpan.FromMilliseconds(10), RealClock.Instance, Token);
        }
    }

    [GeneratedRegex("^(?<depth>#+) (?<text>.+)$", RegexOptions.Multiline)]
    private static partial Regex Heading();
}
