using Hypervisor.Ctl.Output;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Ctl.Watching;

/// <summary>
/// Prints a watch: the present state as a table, then one appended line per change. After a resync only what differs from
/// what was shown is printed, and what vanished meanwhile as deleted. JSON and YAML get every message as the API sent it.
/// </summary>
internal sealed class WatchPrinter<T>(
    CtlEnvironment environment,
    Printer printer,
    TableLayout<T> layout,
    Func<T, string> uid,
    Func<T, string> name,
    Func<T, long> version,
    Func<T, Cell[]> deletedRow)
    where T : class
{
    private readonly Dictionary<string, T> _shown = new(StringComparer.Ordinal);
    private readonly List<T> _initial = [];
    private HashSet<string>? _seenSinceResync;
    private TableWriter? _table;

    /// <summary>Whether the second is to be printed after the first. By default when its version is higher, as of everything that changes with its version.</summary>
    public Func<T, T, bool> IsNews { get; init; } = (before, now) => version(now) > version(before);

    public async Task RunAsync(IAsyncEnumerable<WatchChange<T>> changes, CancellationToken cancellationToken)
    {
        await foreach (var change in changes.WithCancellation(cancellationToken))
        {
            if (printer.Format is OutputFormat.Json or OutputFormat.Yaml)
            {
                printer.WriteEvent(change.Message);
            }
            else
            {
                Apply(change);
            }

            environment.Out.Flush();
        }
    }

    private void Apply(WatchChange<T> change)
    {
        switch (change.Type)
        {
            case WatchEventType.Bookmark:
                FinishState();
                break;
            case WatchEventType.Resync:
                _seenSinceResync = _table is null ? null : new(StringComparer.Ordinal);
                _initial.Clear();
                break;
            case WatchEventType.Deleted when change.Object is { } gone:
                if (_shown.Remove(uid(gone)) && _table is not null)
                {
                    Show(gone, deletedRow(gone));
                }

                break;
            case WatchEventType.Added or WatchEventType.Modified when change.Object is { } present:
                _seenSinceResync?.Add(uid(present));
                var known = _shown.TryGetValue(uid(present), out var before);
                if (known && !IsNews(before!, present))
                {
                    break;
                }

                _shown[uid(present)] = present;
                if (printer.ForPeople && _table is null)
                {
                    _initial.Add(present);
                }
                else
                {
                    Show(present, layout.Row(present));
                }

                break;
        }
    }

    private void FinishState()
    {
        if (_table is null && printer.ForPeople)
        {
            _table = printer.Table(layout.Titles);
            _table.Write([.. _initial.OrderBy(name, StringComparer.Ordinal).Select(layout.Row)]);
            _initial.Clear();
        }

        if (_seenSinceResync is { } seen)
        {
            foreach (var (key, vanished) in _shown.Where(pair => !seen.Contains(pair.Key)).OrderBy(pair => pair.Key, StringComparer.Ordinal).ToArray())
            {
                _shown.Remove(key);
                Show(vanished, deletedRow(vanished));
            }

            _seenSinceResync = null;
        }
    }

    private void Show(T item, Cell[] row)
    {
        if (_table is null)
        {
            printer.WriteName(name(item));
        }
        else
        {
            _table.Append(row);
        }
    }
}
