using Hypervisor.Server.State;

namespace Hypervisor.Server.Controllers.Groups;

/// <summary>Which groups are to be looked at, and when: those of which something changed, soon, and each one now and then.</summary>
internal sealed class GroupAgenda(TimeProvider time)
{
    private readonly Dictionary<string, long> _due = new(StringComparer.Ordinal);
    private readonly HashSet<string> _waiting = new(StringComparer.Ordinal);

    /// <summary>Every group now.</summary>
    public void All(ClusterView view)
    {
        foreach (var group in view.Groups)
        {
            Plan(group.Uid, TimeSpan.Zero);
        }
    }

    public void Take(StateChange change)
    {
        foreach (var (old, current) in change.Groups)
        {
            Plan((current ?? old)!.Uid, TimeSpan.Zero);
        }

        foreach (var (old, current) in change.Instances)
        {
            if ((current ?? old)!.GroupUid is { } uid)
            {
                Plan(uid, Limits.Groups.Pause);
            }
        }

        if (change.Nodes.Count > 0)
        {
            foreach (var uid in _waiting)
            {
                Plan(uid, Limits.Groups.GangPause);
            }
        }
    }

    public void Take(string uid, GroupPass pass)
    {
        Plan(uid, pass.Again);
        if (pass.WaitsForRoom)
        {
            _waiting.Add(uid);
        }
        else
        {
            _waiting.Remove(uid);
        }
    }

    /// <summary>Groups whose time has come; they are planned no longer.</summary>
    public IReadOnlyList<string> TakeDue()
    {
        var now = time.GetTimestamp();
        var due = _due.Where(entry => entry.Value <= now).Select(entry => entry.Key).Order(StringComparer.Ordinal).ToList();
        due.ForEach(uid => _due.Remove(uid));
        return due;
    }

    /// <summary>Until the next one's time has come, at most <see cref="Limits.Control.ReconcilePeriod"/>.</summary>
    public TimeSpan Next()
    {
        if (_due.Count == 0)
        {
            return Limits.Control.ReconcilePeriod;
        }

        var left = time.GetElapsedTime(time.GetTimestamp(), _due.Values.Min());
        return left < TimeSpan.Zero ? TimeSpan.Zero : left < Limits.Control.ReconcilePeriod ? left : Limits.Control.ReconcilePeriod;
    }

    public void Forget(string uid)
    {
        _due.Remove(uid);
        _waiting.Remove(uid);
    }

    /// <summary>The earlier of two times counts.</summary>
    private void Plan(string uid, TimeSpan after)
    {
        var at = time.GetTimestamp() + (long)(after.TotalSeconds * time.TimestampFrequency);
        _due[uid] = _due.TryGetValue(uid, out var known) && known < at ? known : at;
    }
}
