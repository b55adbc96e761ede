using System.Globalization;
using Containerd.Services.Leases.V1;
using Containerd.Services.Namespaces.V1;
using Grpc.Core;

namespace Hypervisor.Agent.Drivers.Containerd.Connection;

/// <summary>Keeps what is made under it from containerd's collector until disposed of, or for an hour if its owner was killed.</summary>
internal sealed class ContainerdLease : IAsyncDisposable
{
    private readonly ContainerdClient _client;
    private bool _isKept;

    private readonly bool _collect;

    private ContainerdLease(ContainerdClient client, string id, bool collect) => (_client, Id, _collect) = (client, id, collect);

    public string Id { get; }

    /// <param name="collect">Whether what only it holds goes with it, instead of with one of the next collections.</param>
    /// <exception cref="RpcException">containerd refused.</exception>
    public static async Task<ContainerdLease> OpenAsync(
        ContainerdClient client, string uid, DateTimeOffset now, CancellationToken cancellationToken, bool collect = false)
    {
        var id = "hypervisor-" + uid;
        var create = new CreateRequest { Id = id };
        create.Labels["containerd.io/gc.expire"] =
            (now + ContainerdLimits.LeaseLife).ToString("yyyy-MM-dd'T'HH:mm:ss'Z'", CultureInfo.InvariantCulture);
        cancellationToken.ThrowIfCancellationRequested();
        try
        {
            // Not cancelled with the caller, who would not learn that there is a lease to delete.
            await client.Leases.CreateAsync(create, client.Call(CancellationToken.None));
        }
        catch (RpcException error) when (error.StatusCode is StatusCode.NotFound or StatusCode.FailedPrecondition)
        {
            // A lease is the first thing made in a namespace, which may not exist yet.
            await EnsureNamespaceAsync(client, cancellationToken);
            await client.Leases.CreateAsync(create, client.Call(CancellationToken.None));
        }

        return new ContainerdLease(client, id, collect);
    }

    /// <summary>It expires by itself, and until then what was made under it is there to go on with.</summary>
    public void Keep() => _isKept = true;

    public async ValueTask DisposeAsync()
    {
        if (_isKept)
        {
            return;
        }

        try
        {
            await _client.Leases.DeleteAsync(new DeleteRequest { Id = Id, Sync = _collect }, _client.Call(CancellationToken.None));
        }
        catch (RpcException)
        {
            // It expires. An exception here would hide the one that led here.
        }
    }

    private static async Task EnsureNamespaceAsync(ContainerdClient client, CancellationToken cancellationToken)
    {
        try
        {
            await client.Namespaces.CreateAsync(
                new CreateNamespaceRequest { Namespace = new Namespace { Name = client.Namespace } }, client.Call(cancellationToken));
        }
        catch (RpcException error) when (error.StatusCode == StatusCode.AlreadyExists)
        {
            // Made by someone else meanwhile.
        }
    }
}
