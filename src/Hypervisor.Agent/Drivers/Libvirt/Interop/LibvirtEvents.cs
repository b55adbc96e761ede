using System.Collections.Concurrent;
using System.Runtime.InteropServices;
using System.Text;

namespace Hypervisor.Agent.Drivers.Libvirt.Interop;

/// <summary>libvirt's event loop, one for the process, and the way from its callbacks to whoever listens.</summary>
/// <remarks>Callbacks name their listener by a number, not by an address: one that comes late finds nobody, and nothing worse.</remarks>
internal static unsafe class LibvirtEvents
{
    private const int UuidBuffer = 37;

    /// <summary>Without any timer the loop would wait for ever for its first connection's descriptors.</summary>
    private const int TickMilliseconds = 1000;

    private static readonly ConcurrentDictionary<nint, ILibvirtListener> _listeners = new();
    private static readonly Lock Gate = new();
    private static bool _started;
    private static long _last;

    /// <summary>Before the first connection is opened.</summary>
    /// <exception cref="DllNotFoundException">libvirt is not installed.</exception>
    /// <exception cref="LibvirtException">It cannot be initialised.</exception>
    public static void EnsureStarted()
    {
        lock (Gate)
        {
            if (!_started)
            {
                // Tried again after a failure: the library may be installed while the agent runs.
                Start();
                _started = true;
            }
        }
    }

    /// <returns>What <see cref="Forget"/> takes.</returns>
    public static (nint Listener, int Callback) Listen(ConnectionHandle connection, ILibvirtListener listener)
    {
        var number = (nint)Interlocked.Increment(ref _last);
        _listeners[number] = listener;
        if (NativeMethods.ConnectRegisterClose(connection, &Closed, number, 0) < 0)
        {
            _listeners.TryRemove(number, out _);
            throw LibvirtException.OfThisThread();
        }

        var callback = NativeMethods.ConnectRegisterEvent(connection, 0, NativeMethods.EventLifecycle, &Happened, number, 0);
        if (callback < 0)
        {
            var refusal = LibvirtException.OfThisThread();
            Forget(connection, (number, callback));
            throw refusal;
        }

        return (number, callback);
    }

    public static void Forget(ConnectionHandle connection, (nint Listener, int Callback) registration)
    {
        _listeners.TryRemove(registration.Listener, out _);

        // Of a connection that is lost already both fail, which changes nothing.
        if (registration.Callback >= 0)
        {
            _ = NativeMethods.ConnectDeregisterEvent(connection, registration.Callback);
        }

        _ = NativeMethods.ConnectUnregisterClose(connection, &Closed);
    }

    private static void Start()
    {
        if (NativeMethods.Initialize() < 0)
        {
            throw LibvirtException.OfThisThread();
        }

        // Otherwise every refusal is also printed to standard error.
        NativeMethods.SetErrorFunction(0, &Ignore);
        if (NativeMethods.EventRegisterDefault() < 0 || NativeMethods.EventAddTimeout(TickMilliseconds, &Tick, 0, 0) < 0)
        {
            throw LibvirtException.OfThisThread();
        }

        new Thread(Run, LibvirtLimits.StackBytes) { IsBackground = true, Name = "libvirt events" }.Start();
    }

    private static void Run()
    {
        while (true)
        {
            // It says -1 for a poll that was interrupted; nothing else can be done about it than to go on.
            _ = NativeMethods.EventRunDefault();
        }
    }

    [UnmanagedCallersOnly]
    private static void Ignore(nint userData, nint error)
    {
    }

    [UnmanagedCallersOnly]
    private static void Tick(int timer, nint opaque)
    {
    }

    [UnmanagedCallersOnly]
    private static void Closed(nint connection, int reason, nint listener)
    {
        if (_listeners.TryGetValue(listener, out var found))
        {
            found.Closed();
        }
    }

    [UnmanagedCallersOnly]
    private static void Happened(nint connection, nint domain, int what, int detail, nint listener)
    {
        var buffer = stackalloc byte[UuidBuffer];
        if (_listeners.TryGetValue(listener, out var found) && NativeMethods.DomainGetUuid(domain, buffer) == 0)
        {
            found.Changed(Encoding.ASCII.GetString(buffer, UuidBuffer - 1));
        }
    }
}

/// <summary>Called on the event loop's thread: must neither block nor throw.</summary>
internal interface ILibvirtListener
{
    /// <summary>The state of a domain may be another.</summary>
    void Changed(string uuid);

    /// <summary>The connection is lost.</summary>
    void Closed();
}
