using System.Runtime.CompilerServices;
using System.Threading.Channels;
using Hypervisor.Agent.Drivers.Libvirt.Interop;
using Hypervisor.Agent.Guests;
using Hypervisor.Protocol;

namespace Hypervisor.Agent.Drivers.Libvirt;

/// <summary>The connection to libvirtd: opened when it is needed, again with growing pauses after it was lost.</summary>
internal sealed class LibvirtConnection(LibvirtOptions options, TimeProvider time) : IDisposable
{
    private readonly LibvirtThreads _threads = new(LibvirtLimits.Calls, time);
    private readonly LibvirtThreads _transfers = new(LibvirtLimits.Transfers, time);
    private readonly SemaphoreSlim _opening = new(1, 1);
    private Open? _open;
    private TimeSpan _pause = LibvirtLimits.FirstRetry;
    private long _failedAt;
    private string? _lastFailure;

    /// <summary>A call that libvirtd answers.</summary>
    /// <exception cref="DriverException">RuntimeUnavailable: there is no connection, or no answer in time.</exception>
    /// <exception cref="LibvirtException">libvirt refused.</exception>
    public Task<T> CallAsync<T>(Func<ConnectionHandle, T> call, TimeSpan deadline, CancellationToken cancellationToken) =>
        CallAsync(_threads, call, deadline, cancellationToken);

    /// <summary>Likewise one that writes or reads the memory of a guest.</summary>
    /// <exception cref="DriverException">RuntimeUnavailable: there is no connection, or no answer in time.</exception>
    /// <exception cref="LibvirtException">libvirt refused.</exception>
    public Task<T> TransferAsync<T>(Func<ConnectionHandle, T> call, CancellationToken cancellationToken) =>
        CallAsync(_transfers, call, LibvirtLimits.Transfer, cancellationToken);

    /// <summary>Domains that may have changed, at first all of ours; ends with an exception when the connection is lost.</summary>
    public async IAsyncEnumerable<InstanceId> WatchAsync([EnumeratorCancellation] CancellationToken cancellationToken)
    {
        var open = await OpenAsync(cancellationToken);

        // What happened while nobody listened is found by looking.
        foreach (var domain in await CallAsync(LibvirtDomains.List, LibvirtLimits.Query, cancellationToken))
        {
            yield return new InstanceId(domain.Uid);
        }

        await foreach (var id in open.Changes.Reader.ReadAllAsync(cancellationToken))
        {
            yield return id;
        }

        throw Unavailable("the connection to libvirtd was lost");
    }

    public void Dispose()
    {
        if (_open is { } open)
        {
            Lose(open);
        }

        _opening.Dispose();
        _threads.Dispose();
        _transfers.Dispose();
    }

    private static DriverException Unavailable(string why, Exception? cause = null) => new(GuestLimits.Unavailable, why, permanent: false, cause);

    private async Task<T> CallAsync<T>(LibvirtThreads threads, Func<ConnectionHandle, T> call, TimeSpan deadline, CancellationToken cancellationToken)
    {
        var open = await OpenAsync(cancellationToken);
        try
        {
            return await threads.RunAsync(() => call(open.Handle), deadline, cancellationToken);
        }
        catch (LibvirtException failure) when (NativeMethods.ConnectIsAlive(open.Handle) != 1)
        {
            Lose(open);
            throw new DriverException(GuestLimits.Unavailable, $"the connection to libvirtd was lost: {failure.Message}", permanent: false, failure);
        }
    }

    private async Task<Open> OpenAsync(CancellationToken cancellationToken)
    {
        await _opening.WaitAsync(cancellationToken);
        try
        {
            if (_open is { IsLost: false } present)
            {
                return present;
            }

            if (_open is { } lost)
            {
                Lose(lost);
            }

            if (!File.Exists(options.Socket))
            {
                // Found out without asking anybody: nothing to wait for.
                throw Unavailable($"nothing listens at {options.Socket}; apt-get install libvirt-daemon-system and start libvirtd, or correct libvirt.uri");
            }

            if (_lastFailure is { } failed && time.GetElapsedTime(_failedAt) < _pause)
            {
                throw Unavailable(failed);
            }

            try
            {
                LibvirtEvents.EnsureStarted();
                var opened = await _threads.RunAsync(Connect, LibvirtLimits.Open, cancellationToken);
                (_open, _pause, _lastFailure) = (opened, LibvirtLimits.FirstRetry, null);
                return opened;
            }
            catch (DllNotFoundException missing)
            {
                throw Unavailable($"{NativeMethods.Library} is not on this node; apt-get install libvirt0", missing);
            }
            catch (Exception failure) when (failure is LibvirtException or DriverException)
            {
                throw Failed(failure);
            }
        }
        finally
        {
            _opening.Release();
        }
    }

    private DriverException Failed(Exception failure)
    {
        _pause = _lastFailure is null ? LibvirtLimits.FirstRetry : _pause * 2 < LibvirtLimits.LongestRetry ? _pause * 2 : LibvirtLimits.LongestRetry;
        (_failedAt, _lastFailure) = (time.GetTimestamp(), $"libvirtd cannot be reached: {failure.Message}");
        return Unavailable(_lastFailure, failure);
    }

    private Open Connect()
    {
        var handle = NativeMethods.ConnectOpen(options.Uri);
        if (handle.IsInvalid)
        {
            throw LibvirtException.OfThisThread();
        }

        var open = new Open(handle);
        try
        {
            open.Registration = LibvirtEvents.Listen(handle, open);
            return NativeMethods.ConnectSetKeepAlive(handle, LibvirtLimits.KeepAliveSeconds, LibvirtLimits.KeepAliveCount) < 0
                ? throw LibvirtException.OfThisThread()
                : open;
        }
        catch
        {
            handle.Dispose();
            throw;
        }
    }

    private void Lose(Open open)
    {
        open.Closed();
        _ = Interlocked.CompareExchange(ref _open, null, open);
        if (!open.TakeRelease())
        {
            return;
        }

        // A farewell to a libvirtd that is mute would wait for it too.
        new Thread(
            () =>
            {
                LibvirtEvents.Forget(open.Handle, open.Registration);
                open.Handle.Dispose();
            },
            LibvirtLimits.StackBytes)
        { IsBackground = true, Name = "libvirt close" }.Start();
    }

    private sealed class Open(ConnectionHandle handle) : ILibvirtListener
    {
        private int _released;

        public ConnectionHandle Handle => handle;

        public (nint Listener, int Callback) Registration { get; set; }

        public Channel<InstanceId> Changes { get; } = Channel.CreateBounded<InstanceId>(
            new BoundedChannelOptions(GuestLimits.EndedGuests) { FullMode = BoundedChannelFullMode.DropOldest });

        public bool IsLost { get; private set; }

        public void Changed(string uuid) => Changes.Writer.TryWrite(new InstanceId(uuid));

        public void Closed()
        {
            IsLost = true;
            Changes.Writer.TryComplete();
        }

        public bool TakeRelease() => Interlocked.Exchange(ref _released, 1) == 0;
    }
}
