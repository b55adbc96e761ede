using System.CommandLine;
using Google.Protobuf.WellKnownTypes;
using Hypervisor.Ctl.Commands.Instances;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Ctl.Commands.Groups;

/// <summary>
/// The flags that describe a group, for create and update alike: those of an instance for its template, and its own. Applied on top of what is there.
/// </summary>
internal sealed class GroupFlags
{
    private readonly InstanceFlags _template = new(ofGroup: true);
    private readonly Option<int> _count = new("--count") { Description = "How many members", HelpName = "COUNT" };
    private readonly Option<bool> _gang = new("--gang") { Description = "All members that are missing get a node at once, or none is made" };
    private readonly Option<int> _maxSurge = new("--max-surge") { Description = "How many more than count there may be during an update", HelpName = "COUNT" };
    private readonly Option<int> _maxUnavailable = new("--max-unavailable")
    {
        Description = "How many fewer than count may be available because of an update",
        HelpName = "COUNT",
    };

    private readonly Option<Duration> _minReady = Time("--min-ready", "How long a new member has to be ready before an update goes on (default 5s)");
    private readonly Option<Duration> _deadline = Time("--progress-deadline", "Without another available member for so long it has come to a stop (default 10m)");
    private readonly Option<int> _maxDisrupted = new("--max-disrupted")
    {
        Description = "How many fewer than count may be ready because of pre-emption and drains",
        HelpName = "COUNT",
    };

    public void AddTo(Command command)
    {
        command.Add(_count);
        command.Add(_gang);
        command.Add(_maxSurge);
        command.Add(_maxUnavailable);
        command.Add(_minReady);
        command.Add(_deadline);
        command.Add(_maxDisrupted);
        _template.AddTo(command);
    }

    /// <summary>Puts every flag that was typed into the spec.</summary>
    /// <returns>The paths that were set, as in a field mask.</returns>
    public IReadOnlyList<string> Apply(Invocation invocation, GroupSpec spec)
    {
        var paths = new List<string>();
        Set(_count, "spec.count", value => spec.Count = value);
        Set(_gang, "spec.gang", value => spec.Gang = value);
        Set(_maxSurge, "spec.update.max_surge", value => (spec.Update ??= new()).MaxSurge = value);
        Set(_maxUnavailable, "spec.update.max_unavailable", value => (spec.Update ??= new()).MaxUnavailable = value);
        Set(_minReady, "spec.update.min_ready", value => (spec.Update ??= new()).MinReady = value);
        Set(_deadline, "spec.update.progress_deadline", value => (spec.Update ??= new()).ProgressDeadline = value);
        Set(_maxDisrupted, "spec.disruption", value => spec.Disruption = new() { MaxUnavailable = value });
        var template = spec.Template ?? new();
        var member = new CreateInstanceRequest { Labels = { template.Labels }, Annotations = { template.Annotations }, Spec = template.Spec ?? new() };
        if (_template.Apply(invocation, member).Count > 0)
        {
            spec.Template = new() { Labels = { member.Labels }, Annotations = { member.Annotations }, Spec = member.Spec };
            paths.Add("spec.template");
        }

        return paths;

        void Set<T>(Option<T> option, string path, Action<T> set)
        {
            if (invocation.Has(option))
            {
                set(invocation.Get(option)!);
                paths.Add(path);
            }
        }
    }

    private static Option<Duration> Time(string name, string description) => new(name)
    {
        Description = description,
        HelpName = "DURATION",
        CustomParser = result => Duration.FromTimeSpan(CommonOptions.ParseDuration(result)),
    };
}
