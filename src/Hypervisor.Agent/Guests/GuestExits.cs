using System.Threading.Channels;
using Hypervisor.Agent.Networking.Interop;
using Hypervisor.Protocol;
using Microsoft.Win32.SafeHandles;

namespace Hypervisor.Agent.Guests;

/// <summary>Tells when VMM processes end: one thread waits for all of them, and costs nothing while none ends.</summary>
internal sealed class GuestExits : IDisposable
{
    private readonly Lock _lock = new();
    private readonly Dictionary<InstanceId, ProcessHandle> _watched = [];
    private readonly SafeFileHandle _wake = new(Libc.EventFd(0, Libc.EventCloexecNonblock), ownsHandle: true);
    private readonly Channel<InstanceId> _ended = System.Threading.Channels.Channel.CreateBounded<InstanceId>(
        new BoundedChannelOptions(GuestLimits.EndedGuests) { FullMode = BoundedChannelFullMode.DropOldest });

    private Thread? _thread;
    private bool _stopping;

    /// <summary>Hints; the oldest are dropped when nobody reads them.</summary>
    public ChannelReader<InstanceId> Ended => _ended.Reader;

    /// <summary>Replaces an earlier process of the same guest. One that has ended already is told at once.</summary>
    public void Watch(InstanceId id, ProcessMark mark)
    {
        var handle = ProcessHandle.Open(mark.Id);
        if (handle is null || GuestProcess.Mark(mark.Id) != mark)
        {
            handle?.Dispose();
            _ended.Writer.TryWrite(id);
            return;
        }

        lock (_lock)
        {
            if (_watched.Remove(id, out var earlier))
            {
                earlier.Dispose();
            }

            _watched.Add(id, handle);
            if (_thread is null)
            {
                _thread = new Thread(Run, maxStackSize: 256 * 1024) { IsBackground = true, Name = "guest exits" };
                _thread.Start();
            }
        }

        Wake();
    }

    public bool IsWatched(InstanceId id)
    {
        lock (_lock)
        {
            return _watched.ContainsKey(id);
        }
    }

    public void Dispose()
    {
        Thread? thread;
        lock (_lock)
        {
            _stopping = true;
            thread = _thread;
        }

        Wake();
        thread?.Join();
        foreach (var handle in _watched.Values)
        {
            handle.Dispose();
        }

        _wake.Dispose();
    }

    private unsafe void Wake()
    {
        var one = 1L;
        _ = Libc.Write(_wake, &one, sizeof(long));
    }

    private unsafe void Run()
    {
        while (true)
        {
            KeyValuePair<InstanceId, ProcessHandle>[] watched;
            lock (_lock)
            {
                if (_stopping)
                {
                    return;
                }

                watched = [.. _watched];
            }

            var entries = new PollEntry[watched.Length + 1];
            entries[^1] = new PollEntry { Descriptor = (int)_wake.DangerousGetHandle(), Events = Libc.PollIn };
            for (var index = 0; index < watched.Length; index++)
            {
                entries[index] = new PollEntry { Descriptor = watched[index].Value.Descriptor, Events = Libc.PollIn };
            }

            fixed (PollEntry* first = entries)
            {
                // A descriptor that was closed meanwhile answers too (POLLNVAL): its guest is no longer in the list.
                _ = Libc.Poll(first, (nuint)entries.Length, -1);
            }

            if (entries[^1].Returned != 0)
            {
                var count = 0L;
                _ = Libc.Read(_wake, &count, sizeof(long));
            }

            for (var index = 0; index < watched.Length; index++)
            {
                if (entries[index].Returned != 0)
                {
                    End(watched[index]);
                }
            }
        }
    }

    private void End(KeyValuePair<InstanceId, ProcessHandle> guest)
    {
        lock (_lock)
        {
            if (!_watched.TryGetValue(guest.Key, out var present) || present != guest.Value || !present.HasEnded)
            {
                return;
            }

            _watched.Remove(guest.Key);
            present.Dispose();
        }

        _ended.Writer.TryWrite(guest.Key);
    }
}
