using Hypervisor.Hosting.Randomness;

namespace Hypervisor.Agent.Drivers.Containerd;

/// <summary>Which containers share a shim: of one project, at most <see cref="ContainerdLimits.ContainersPerShim"/> each.</summary>
/// <remarks>
/// A shim ends with its last container. A name is therefore never used again once its last member has left, which it does before
/// its process is ended or forgotten: a starting container must not find the socket of a shim that is about to go. An agent that
/// begins anew knows no groups, and gives names that none gave before.
/// </remarks>
internal sealed class ShimGroups(IRandomSource random)
{
    private readonly Lock _lock = new();
    private readonly Dictionary<string, string> _groupOf = new(StringComparer.Ordinal);
    private readonly Dictionary<string, List<Group>> _byProject = new(StringComparer.Ordinal);

    /// <summary>The group of a container, found or chosen.</summary>
    public string Join(string id, string project)
    {
        lock (_lock)
        {
            if (_groupOf.TryGetValue(id, out var present))
            {
                return present;
            }

            if (!_byProject.TryGetValue(project, out var groups))
            {
                _byProject.Add(project, groups = []);
            }

            var group = groups.Find(candidate => candidate.Members.Count < ContainerdLimits.ContainersPerShim);
            if (group is null)
            {
                group = new Group("hypervisor-" + random.NewUid());
                groups.Add(group);
            }

            group.Members.Add(id);
            _groupOf.Add(id, group.Name);
            return group.Name;
        }
    }

    /// <returns>The name of the group whose last member this was: it is never used again.</returns>
    public string? Leave(string id)
    {
        lock (_lock)
        {
            if (!_groupOf.Remove(id))
            {
                return null;
            }

            foreach (var (project, groups) in _byProject)
            {
                if (groups.Find(group => group.Members.Remove(id)) is { } left)
                {
                    if (left.Members.Count == 0)
                    {
                        groups.Remove(left);
                    }

                    if (groups.Count == 0)
                    {
                        _byProject.Remove(project);
                    }

                    return left.Members.Count == 0 ? left.Name : null;
                }
            }

            return null;
        }
    }

    private sealed record Group(string Name)
    {
        public HashSet<string> Members { get; } = new(StringComparer.Ordinal);
    }
}
