using System.Net;
using Hypervisor.Agent.Drivers;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Networking;

/// <summary>The node network on Linux: rtnetlink, namespaces and nftables, on a thread of its own.</summary>
/// <remarks>Failures of the kernel are <see cref="DriverException"/> with the reason NetworkError.</remarks>
internal sealed class NodeNetwork : INodeNetwork, IDisposable
{
    private readonly SemaphoreSlim _changed = new(0, 1);
    private readonly SemaphoreSlim _departures = new(NetworkLimits.ConcurrentDepartures);
    private readonly NetworkThread _thread;

    public NodeNetwork(NetworkOptions options, TimeProvider time, ILogger<NodeNetwork> logger) => _thread = new(options, time, logger, ReportChange);

    public Task EnsureAsync(IPNetwork subnet, CancellationToken cancellationToken) =>
        RunAsync(dataplane => dataplane.Ensure(subnet), cancellationToken);

    public Task<NetworkAttachment> AttachAsync(
        InstanceId id, Epoch epoch, NetworkSpec spec, ConnectionKind kind, string hostname, CancellationToken cancellationToken) =>
        RunAsync(dataplane => dataplane.Attach(id, epoch, spec, kind, hostname), cancellationToken);

    public async Task DetachAsync(InstanceId id, Epoch epoch, CancellationToken cancellationToken)
    {
        using (var departure = await RunAsync(dataplane => dataplane.BeginDetach(id, epoch), cancellationToken))
        {
            await _departures.WaitAsync(cancellationToken);
            try
            {
                await Explain(() => Task.Run(
                    () =>
                    {
                        departure.DeleteLinks();
                        return true;
                    },
                    cancellationToken));
            }
            finally
            {
                _departures.Release();
            }
        }

        await RunAsync(dataplane => dataplane.EndDetach(id), cancellationToken);
    }

    public Task<IReadOnlyList<InstanceId>> ListAsync(CancellationToken cancellationToken) =>
        RunAsync(dataplane => dataplane.List(), cancellationToken);

    public Task TearDownAsync(CancellationToken cancellationToken) =>
        RunAsync(dataplane => dataplane.TearDown(), cancellationToken);

    public Task WaitForChangeAsync(CancellationToken cancellationToken) => _changed.WaitAsync(cancellationToken);

    /// <summary>Ends the thread after the calls already queued. Leaves the network as it is.</summary>
    public void Dispose()
    {
        _thread.Dispose();
        _changed.Dispose();
        _departures.Dispose();
    }

    private async Task RunAsync(Action<Dataplane> work, CancellationToken cancellationToken) =>
        _ = await RunAsync(
            dataplane =>
            {
                work(dataplane);
                return true;
            },
            cancellationToken);

    private Task<T> RunAsync<T>(Func<Dataplane, T> work, CancellationToken cancellationToken) =>
        Explain(() => _thread.RunAsync(work, cancellationToken));

    private static async Task<T> Explain<T>(Func<Task<T>> work)
    {
        try
        {
            return await work();
        }
        catch (IOException full) when (DriverException.IsFullDisk(full))
        {
            // Of the records; the kernel's objects need no disk.
            throw DriverException.OfFullDisk(full);
        }
        catch (Exception failed) when (failed is IOException or UnauthorizedAccessException)
        {
            throw new DriverException("NetworkError", $"The node's network: {failed.Message}.", permanent: false, failed);
        }
    }

    private void ReportChange()
    {
        // The network thread is the only one that releases, so the count cannot rise in between.
        if (_changed.CurrentCount == 0)
        {
            _changed.Release();
        }
    }
}
