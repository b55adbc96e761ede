using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.State;
using Hypervisor.Server.Stores;
using Hypervisor.Server.Stores.Records;

namespace Hypervisor.Server.Events;

/// <summary>Events on their way into the store: what happens again meanwhile is counted.</summary>
internal sealed class WaitingEvents
{
    private readonly SortedDictionary<string, Event> _waiting = new(StringComparer.Ordinal);

    public int Count => _waiting.Count;

    /// <summary>Occurrences that found no place; reset by whoever tells of them.</summary>
    public int Lost { get; set; }

    public void Add(Occurrence occurrence, DateTimeOffset now)
    {
        var reason = ReasonOf(occurrence.Reason);
        var key = Keys.Event(occurrence.ObjectUid, reason);
        if (!_waiting.TryGetValue(key, out var waiting))
        {
            if (_waiting.Count >= Limits.Events.Waiting)
            {
                Lost++;
                return;
            }

            _waiting.Add(key, waiting = new()
            {
                Uid = $"{occurrence.ObjectUid}/{reason}",
                ObjectKind = occurrence.ObjectKind,
                ObjectUid = occurrence.ObjectUid,
                Reason = reason,
                FirstAt = now.ToTimestamp(),
            });
        }

        waiting.ObjectName = occurrence.ObjectName;
        waiting.Project = occurrence.Project;
        waiting.Severity = occurrence.Severity;
        waiting.Message = Cut(occurrence.Message);
        waiting.Count = waiting.Count == int.MaxValue ? int.MaxValue : waiting.Count + 1;
        waiting.LastAt = now.ToTimestamp();
    }

    /// <summary>
    /// What brings the waiting events into a store that holds what the view shows, and takes out as many as are too many: first the
    /// oldest of the same object, then the oldest of all. Every key once.
    /// </summary>
    public IReadOnlyList<StoreOperation> Operations(ClusterView view)
    {
        var operations = new List<StoreOperation>();
        var leaving = new HashSet<string>(StringComparer.Ordinal);
        var added = 0;
        foreach (var (key, waiting) in _waiting)
        {
            var held = view.Event(waiting.ObjectUid, waiting.Reason)?.Event;
            added += held is null ? 1 : 0;
            operations.Add(new StoreOperation.Put(key, new EventRecord { Event = Joined(held, waiting) }.ToByteArray()));
        }

        foreach (var group in _waiting.Values.GroupBy(waiting => waiting.ObjectUid, StringComparer.Ordinal))
        {
            var held = view.EventsOf(group.Key).ToList();
            var fresh = group.Select(waiting => waiting.Reason).ToHashSet(StringComparer.Ordinal);
            var surplus = held.Select(entry => entry.Event.Reason).Union(fresh).Count() - Limits.Events.PerObject;
            foreach (var old in held.Where(entry => !fresh.Contains(entry.Event.Reason)).OrderBy(entry => entry.ListKey, StringComparer.Ordinal).Take(surplus))
            {
                leaving.Add(Keys.Event(old.Event.ObjectUid, old.Event.Reason));
            }
        }

        var tooMany = view.EventCount + added - leaving.Count - Limits.Events.Total;
        foreach (var old in view.Events)
        {
            if (tooMany <= 0)
            {
                break;
            }

            var key = Keys.Event(old.Event.ObjectUid, old.Event.Reason);
            if (!_waiting.ContainsKey(key) && leaving.Add(key))
            {
                tooMany--;
            }
        }

        operations.AddRange(leaving.Order(StringComparer.Ordinal).Select(key => new StoreOperation.Delete(key)));
        return operations;
    }

    public void Clear() => _waiting.Clear();

    private static Event Joined(Event? held, Event waiting)
    {
        var joined = waiting.Clone();
        if (held is not null)
        {
            joined.FirstAt = held.FirstAt;
            joined.Count = (int)Math.Min((long)held.Count + waiting.Count, int.MaxValue);
        }

        return joined;
    }

    // Reasons come from agents and schedulers as CamelCase words; in a key nothing else may stand.
    private static string ReasonOf(string reason)
    {
        var word = new string([.. reason.Where(char.IsAsciiLetterOrDigit).Take(Limits.Events.ReasonCharacters)]);
        return word.Length == 0 ? "Other" : word;
    }

    private static string Cut(string message) => message.Length <= Limits.Events.MessageCharacters
        ? message
        : string.Concat(message.AsSpan(0, Limits.Events.MessageCharacters - 1), "…");
}
