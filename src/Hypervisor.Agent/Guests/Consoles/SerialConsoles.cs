using System.Collections.Concurrent;
using Hypervisor.Agent.Drivers;
using Hypervisor.Protocol;

namespace Hypervisor.Agent.Guests.Consoles;

/// <summary>The serial consoles of this node's guests. A monitor lets one client in: the connection is shared, and made when somebody looks.</summary>
internal sealed class SerialConsoles(TimeProvider time) : IAsyncDisposable
{
    private readonly ConcurrentDictionary<InstanceId, SerialConsole> _consoles = new();

    /// <summary>What the console shows from now on, after the last of what it showed before.</summary>
    /// <param name="log">What was written to it, appended to by the monitor.</param>
    /// <exception cref="DriverException">ConsoleUnavailable, TooManyStreams.</exception>
    public async Task<IInstanceProcess> AttachAsync(InstanceId id, string socket, string log, CancellationToken cancellationToken)
    {
        while (true)
        {
            var console = _consoles.GetOrAdd(id, _ => new SerialConsole(socket, log, time));
            if (await console.AttachAsync(() => Drop(id, console), cancellationToken) is { } reader)
            {
                return reader;
            }

            // It ended before we came: a new one.
            Drop(id, console);
        }
    }

    public async ValueTask DisposeAsync()
    {
        foreach (var (id, console) in _consoles)
        {
            Drop(id, console);
            await console.DisposeAsync();
        }
    }

    private void Drop(InstanceId id, SerialConsole console) => _consoles.TryRemove(new(id, console));
}
