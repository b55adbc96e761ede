using CsCheck;
using Google.Protobuf.WellKnownTypes;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Scheduling;
using Hypervisor.Server.Scheduling.Fleets;
using Hypervisor.Server.Scheduling.Queues;
using Hypervisor.Server.State;
using Hypervisor.Tests.Server.Scheduling.Fleets;
using Xunit;

namespace Hypervisor.Tests.Server.Scheduling.Queues;

/// <summary>
/// Protects: who gets a node next is settled by priority, then by who has least, then by age; what fits nowhere holds back nobody, and is decided
/// about again when something happened that could help it, and only then.
/// </summary>
public sealed class PlacementQueueTests
{
    private const long MiB = 1 << 20;

    [Fact]
    public void Priority_comes_before_age()
    {
        var line = new Line();
        line.Ask("old", age: 1);
        line.Ask("urgent", age: 3, priority: 100);
        line.Ask("idle", age: 0, priority: -100);
        line.Ask("young", age: 2);

        Assert.Equal(["urgent", "old", "young", "idle"], line.HandOut());
    }

    [Fact]
    public void The_project_that_has_least_of_what_it_has_most_of_comes_first()
    {
        var line = new Line();
        line.Node("a");
        line.Hold("cpu", cpu: 2000, memory: MiB);
        line.Hold("memory", cpu: 100, memory: 2048 * MiB);
        line.Ask("of-cpu", age: 1, project: "cpu");
        line.Ask("of-memory", age: 2, project: "memory");
        line.Ask("of-none", age: 3, project: "none");

        // A half of the CPUs, a quarter of the memory, nothing.
        Assert.Equal(["of-none", "of-memory", "of-cpu"], line.HandOut());
    }

    [Fact]
    public void Shares_that_grow_while_it_is_handed_out_change_whose_turn_it_is()
    {
        var line = new Line();
        line.Node("a");
        foreach (var number in Enumerable.Range(0, 3))
        {
            line.Ask($"one-{number}", age: number, project: "one");
            line.Ask($"two-{number}", age: 10 + number, project: "two");
        }

        Assert.Equal(["one-0", "two-0", "one-1", "two-1", "one-2", "two-2"], line.HandOut(place: true));
    }

    [Fact]
    public void What_sleeps_holds_back_nobody_and_all_that_ask_for_the_same_sleep_with_it()
    {
        var line = new Line();
        line.Node("a");
        line.Ask("large-1", age: 1, memory: 64 << 10);
        line.Ask("small", age: 3);
        line.Ask("large-2", age: 2, memory: 64 << 10);

        Assert.Equal(["small"], line.HandOut(place: true));
        Assert.Equal(2, line.Queue.All.Count(item => item.Group.IsAsleep));
        Assert.Equal(["large-1", "large-2"], line.Untold());
        line.Ask("large-3", age: 4, memory: 64 << 10);
        Assert.Equal([], line.HandOut(place: true));
        Assert.Equal(["large-3"], line.Untold());
    }

    [Fact]
    public void Only_what_could_help_wakes()
    {
        var line = new Line();
        line.Node("a");
        line.Hold("p", cpu: 3000, memory: 6L << 30, uid: "big");
        line.Hold("p", cpu: 100, memory: 64 * MiB, uid: "tiny");
        line.Ask("waits", age: 1, memory: 4 << 10);
        line.Ask("db", age: 2, memory: 4 << 10, change: constraints => constraints.Affinity.Add(new AffinityTerm { Selector = "app=db" }));
        Assert.Equal([], line.HandOut(place: true));

        // More of something that is not enough, and somebody else's neighbour.
        line.Free("tiny");
        line.Hold("other", cpu: 1, memory: MiB, uid: "n1", labels: ("app", "db"));
        Assert.Equal([], line.Woken());

        line.Hold("p", cpu: 1, memory: MiB, uid: "n2", labels: ("app", "db"));
        Assert.Equal(["db"], line.Woken());
        line.Node("small", memory: 1 << 10);
        Assert.Equal(["db"], line.Woken());
        line.Free("big");
        Assert.Equal(["db", "waits"], line.Woken().Order(StringComparer.Ordinal));
    }

    [Fact]
    public void Only_a_device_that_is_waited_for_wakes()
    {
        var line = new Line();
        line.Node("a", devices: Nodes.Devices(("gpu", 2), ("nic", 1)));
        line.Hold("p", cpu: 100, memory: MiB, uid: "one", devices: Nodes.Devices(("gpu", 1)));
        line.Hold("p", cpu: 100, memory: MiB, uid: "other", devices: Nodes.Devices(("gpu", 1)));
        line.Hold("p", cpu: 100, memory: MiB, uid: "nic", devices: Nodes.Devices(("nic", 1)));
        line.AskFor("waits", Nodes.Request() with { Project = "p", Devices = Nodes.Devices(("gpu", 2)) });
        Assert.Equal([], line.HandOut(place: true));

        line.Free("nic");
        line.Free("one");
        Assert.Equal([], line.Woken());
        line.Free("other");
        Assert.Equal(["waits"], line.HandOut(place: true));

        // Also one that stays and gives a device up.
        line.AskFor("next", Nodes.Request() with { Project = "p", Devices = Nodes.Devices(("gpu", 1)) });
        Assert.Equal([], line.HandOut(place: true));
        line.Hold("p", cpu: 100, memory: 64 * MiB, uid: "waits", devices: Nodes.Devices(("gpu", 1)));
        Assert.Equal(["next"], line.HandOut(place: true));
    }

    [Fact]
    public void One_that_changes_what_it_asks_for_wakes_and_one_that_goes_is_gone()
    {
        var line = new Line();
        line.Node("a");
        line.Ask("waits", age: 1, memory: 64 << 10);
        line.Ask("goes", age: 2, memory: 64 << 10);
        Assert.Equal([], line.HandOut(place: true));

        line.Ask("waits", age: 1, memory: 64, revision: 2);
        line.Queue.Withdraw(new("goes"));
        Assert.Equal(["waits"], line.HandOut(place: true));
        Assert.Equal([], line.Untold());
    }

    [Fact]
    public void What_was_taken_and_came_to_nothing_is_next_again()
    {
        var line = new Line();
        line.Ask("one", age: 1);
        line.Ask("two", age: 2);
        var item = line.Queue.Next()!;
        Assert.Equal("two", line.Queue.Next()!.Entry.Name);
        Assert.Null(line.Queue.Next());
        line.Queue.PutBack(item, told: false);
        Assert.Equal("one", line.Queue.Next()!.Entry.Name);
    }

    /// <summary>As exact as can be wished for: nobody sleeps who would fit, on thousands of random histories.</summary>
    [Fact]
    public void Nobody_sleeps_who_would_fit()
    {
        var step = Gen.Frequency(
            (2, RandomFleets.Node.Select(node => (Action<Line>)(line => line.Describe(node)))),
            (1, Gen.Int[0, RandomFleets.Count - 1].Select(index => (Action<Line>)(line => line.Fleet.Remove(new($"uid-n{index}"))))),
            (6, Gen.Select(Gen.Int[0, 40], RandomFleets.Request, (number, request) => (Action<Line>)(line => line.AskFor($"i{number}", request)))),
            (6, Gen.Int[0, 40].Select(number => (Action<Line>)(line => line.Free($"i{number}")))));
        Gen.Select(RandomFleets.Node.List[0, 10], step.List[30, 80]).Sample(
            (nodes, steps) =>
            {
                var line = new Line();
                nodes.ForEach(line.Describe);
                foreach (var change in steps)
                {
                    change(line);
                    line.HandOut(place: true);
                    Assert.DoesNotContain(line.Queue.All, item => item.Group.IsAsleep && line.Fits(item.Group.Request));
                }
            },
            iter: 400);
    }

    /// <summary>A queue, its fleet, and who decides.</summary>
    private sealed class Line
    {
        private readonly RequestClasses _classes;
        private readonly HashSet<string> _held = [];
        private long _versions;

        public Line()
        {
            _classes = new(Fleet, kept: 6, candidates: 2);
            Queue = new(Fleet);
        }

        public Fleet Fleet { get; } = new();

        public PlacementQueue Queue { get; }

        public void Describe(CandidateNode node) => Fleet.Describe(new(node, (++_versions, 0, 0)));

        /// <param name="memory">MiB.</param>
        public void Node(string name, long memory = 8 << 10, DeviceAmounts devices = default) =>
            Describe(Nodes.Node(name, capacity: new(4000, memory * MiB, 0)) with { Devices = devices });

        public void Hold(string project, long cpu, long memory, string? uid = null, (string Key, string Value)? labels = null, DeviceAmounts devices = default)
        {
            var kind = Fleet.KindOf(project, labels is { } label ? new Dictionary<string, string> { [label.Key] = label.Value } : new Dictionary<string, string>(), []);
            uid ??= "held-" + project;
            _held.Add(uid);
            Fleet.Confirm(new(uid), new(new("uid-a"), new(cpu, memory, 0), kind, []) { Devices = devices });
        }

        public void Free(string uid)
        {
            if (_held.Remove(uid))
            {
                Fleet.Confirm(new(uid), null);
            }
        }

        /// <param name="memory">MiB.</param>
        public void Ask(
            string name, int age, string project = "p", int priority = 0, long memory = 64, long revision = 1, Action<PlacementConstraints>? change = null)
        {
            var constraints = new PlacementConstraints { Priority = priority };
            change?.Invoke(constraints);
            var spec = new InstanceSpec { Type = InstanceType.Container, Constraints = constraints, Resources = new() { CpuMillicores = 100, MemoryBytes = memory * MiB } };
            Offer(name, project, age, revision, spec, entry => PlacementRequest.Of(entry.Id, project, entry.Metadata.Labels, spec, PlacementStrategy.Spread));
        }

        public void AskFor(string name, PlacementRequest request)
        {
            if (!_held.Contains(name) && Queue.Find(new(name)) is null)
            {
                Offer(name, request.Project, age: 0, revision: 1, new(), entry => request with { Instance = entry.Id });
            }
        }

        public bool Fits(PlacementRequest request) => _classes.Of(request).Decide(Fleet, _classes).First >= 0;

        /// <summary>Everybody whose turn it is, in order, each found to fit, or not, or placed.</summary>
        public List<string> HandOut(bool place = false)
        {
            Queue.Wake();
            var order = new List<string>();
            while (Queue.Next() is { } item)
            {
                if (!place)
                {
                    order.Add(item.Entry.Name);
                    continue;
                }

                var request = item.Group.Request with { Instance = item.Entry.Id };
                var asked = _classes.Of(request, item.Group.Key);
                if (asked.Decide(Fleet, _classes) is not { First: >= 0 and var row })
                {
                    Queue.PutBack(item, told: false);
                    Queue.Sleep(item.Group);
                    continue;
                }

                order.Add(item.Entry.Name);
                _held.Add(item.Entry.Id.Value);
                Fleet.Confirm(item.Entry.Id, new(Fleet.NodeAt(row)!.Id, request.Reserve, asked.Kind, request.Ports) { Devices = request.Devices });
                Queue.Withdraw(item.Entry.Id);
                Queue.Wake();
            }

            return order;
        }

        public List<string> Untold()
        {
            var told = new List<string>();
            while (Queue.NextUntold() is { } item)
            {
                told.Add(item.Entry.Name);
                Queue.PutBack(item, told: true);
            }

            return told;
        }

        /// <summary>Who is decided about again, whatever comes of it.</summary>
        public IReadOnlyList<string> Woken()
        {
            Queue.Wake();
            return [.. Queue.All.Where(item => !item.Group.IsAsleep).Select(item => item.Entry.Name)];
        }

        private void Offer(string name, string project, int age, long revision, InstanceSpec spec, Func<InstanceEntry, PlacementRequest> requestOf) => Queue.Offer(
            new()
            {
                Id = new(name),
                SpecRecord = new()
                {
                    Metadata = new() { Name = name, Project = project, Uid = name, CreatedAt = Nodes.Now.AddSeconds(age).ToTimestamp() },
                    Spec = spec,
                },
                SpecRevision = revision,
                ResourceVersion = ResourceVersion.None,
            },
            requestOf);
    }
}
