using System.Threading.Channels;
using Hypervisor.Agent.Networking.Interop;
using Microsoft.Win32.SafeHandles;

namespace Hypervisor.Agent.Networking;

/// <summary>
/// The one thread that touches the kernel's network: it may stand in another network namespace for a moment, which a thread
/// of the pool must never do, and it makes every change a serial one.
/// </summary>
/// <param name="changed">Called on the thread when the kernel reports that something of ours broke.</param>
internal sealed class NetworkThread(NetworkOptions options, TimeProvider time, ILogger logger, Action changed) : IDisposable
{
    private readonly Channel<ICall> _calls =
        Channel.CreateBounded<ICall>(new BoundedChannelOptions(NetworkLimits.QueuedCalls) { SingleReader = true });

    private readonly SafeFileHandle _wake = Errno.Handle(Libc.EventFd(0, Libc.EventCloexecNonblock), "cannot create an event descriptor");
    private readonly Lock _starting = new();
    private Thread? _thread;
    private bool _deaf;

    private interface ICall
    {
        void Run(Func<Dataplane> dataplane);
    }

    /// <summary>Queues work and completes with its result. Cancellation counts until the work begins.</summary>
    public async Task<T> RunAsync<T>(Func<Dataplane, T> work, CancellationToken cancellationToken)
    {
        Start();
        var call = new Call<T>(work, cancellationToken);
        await _calls.Writer.WriteAsync(call, cancellationToken);
        Wake();
        return await call.Result;
    }

    public void Dispose()
    {
        if (!_calls.Writer.TryComplete())
        {
            return;
        }

        lock (_starting)
        {
            Wake();
            if (_thread is null || _thread.Join(NetworkLimits.StopDeadline))
            {
                _wake.Dispose();
            }
        }
    }

    private void Start()
    {
        lock (_starting)
        {
            if (_thread is null)
            {
                _thread = new Thread(Loop) { IsBackground = true, Name = "network" };
                _thread.Start();
            }
        }
    }

    private unsafe void Wake()
    {
        var one = 1UL;
        Libc.Write(_wake, &one, sizeof(ulong));
    }

    private void Loop()
    {
        Dataplane? dataplane = null;
        try
        {
            do
            {
                while (_calls.Reader.TryRead(out var call))
                {
                    // Opened by the first call that needs it, which also learns why it cannot be.
                    call.Run(() => dataplane ??= new(options, time, logger));
                }

                Wait(dataplane);
            }
            while (!_calls.Reader.Completion.IsCompleted);
        }
        finally
        {
            dataplane?.Dispose();
        }
    }

    private unsafe void Wait(Dataplane? dataplane)
    {
        var entries = stackalloc PollEntry[3];
        entries[0] = new() { Descriptor = (int)_wake.DangerousGetHandle(), Events = Libc.PollIn };
        var listening = dataplane is not null && !_deaf;
        entries[1] = new() { Descriptor = listening ? dataplane!.Monitor.Descriptor : -1, Events = Libc.PollIn };
        entries[2] = new() { Descriptor = dataplane?.Dhcp.Descriptor ?? -1, Events = Libc.PollIn };

        // Rounded up, so that the time is over when the wait is.
        var patience = dataplane?.Dhcp.Patience is { } left ? (int)Math.Ceiling(left.TotalMilliseconds) : -1;
        var ready = Libc.Poll(entries, 3, patience);
        if (ready < 0)
        {
            return;
        }

        if (ready == 0 || entries[2].Returned != 0)
        {
            dataplane!.Dhcp.Keep();
        }

        if (entries[0].Returned != 0)
        {
            ulong ignored;
            Libc.Read(_wake, &ignored, sizeof(ulong));
        }

        if (entries[1].Returned != 0)
        {
            Listen(dataplane!);
        }
    }

    private void Listen(Dataplane dataplane)
    {
        try
        {
            if (dataplane.ReadNotifications())
            {
                changed();
            }
        }
        catch (IOException failed)
        {
            _deaf = true;
            logger.MonitorFailed(failed.Message);
        }
    }

    private sealed class Call<T>(Func<Dataplane, T> work, CancellationToken cancellationToken) : ICall
    {
        private readonly TaskCompletionSource<T> _result = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public Task<T> Result => _result.Task;

        public void Run(Func<Dataplane> dataplane)
        {
            if (cancellationToken.IsCancellationRequested)
            {
                _result.SetCanceled(cancellationToken);
                return;
            }

            try
            {
                _result.SetResult(work(dataplane()));
            }
            catch (Exception failed)
            {
                _result.SetException(failed);
            }
        }
    }
}
