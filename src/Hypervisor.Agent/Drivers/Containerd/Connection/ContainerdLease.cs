using System.Globalization;
using Containerd.Services.Leases.V1;
using Containerd.Services.Namespaces.V1;
using Grpc.Core;

namespace Hypervisor.Agent.Drivers.Containerd.Connection;

/// <summary>Keeps what is made under it from containerd's collector until disposed of, or for an hour if its owner was killed.</summary>
internal sealed class ContainerdLease : IAsyncDisposable
{
    private const string ImageLabel = "hypervisor/image";

    private readonly ContainerdClient _client;
    private readonly bool _collect;
    private bool _isKept;

    private ContainerdLease(ContainerdClient client, string id, bool collect) => (_client, Id, _collect) = (client, id, collect);

    public string Id { get; }

    /// <param name="image">Whose download it holds; see <see cref="DeleteOlderAsync"/>.</param>
    /// <param name="collect">Whether what only it holds goes with it, instead of with one of the next collections.</param>
    /// <exception cref="RpcException">containerd refused.</exception>
    public static async Task<ContainerdLease> OpenAsync(
        ContainerdClient client, string uid, DateTimeOffset now, CancellationToken cancellationToken, string image = "", bool collect = false)
    {
        var id = "hypervisor-" + uid;
        var create = new CreateRequest { Id = id };
        create.Labels["containerd.io/gc.expire"] =
            (now + ContainerdLimits.LeaseLife).ToString("yyyy-MM-dd'T'HH:mm:ss'Z'", CultureInfo.InvariantCulture);
        if (image.Length > 0)
        {
            create.Labels[ImageLabel] = image;
        }

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

    /// <summary>Deletes those under which the image's download was begun before: by agents that ended in the middle of it.</summary>
    public async Task DeleteOlderAsync(string image, CancellationToken cancellationToken)
    {
        var request = new ListRequest { Filters = { $"labels.\"{ImageLabel}\"==\"{image}\"" } };
        var found = await _client.Leases.ListAsync(request, _client.Call(cancellationToken));
        foreach (var older in found.Leases.Where(lease => lease.Id != Id))
        {
            await _client.Leases.DeleteAsync(new DeleteRequest { Id = older.Id }, _client.Call(cancellationToken));
        }
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
        catch (RpcException) when (_client.EndedLeases.Count < ContainerdLimits.EndedLeases)
        {
            // An exception here would hide the one that led here.
            _client.EndedLeases.Enqueue(Id);
        }
        catch (RpcException)
        {
            // It expires.
        }
    }

    /// <summary>Deletes those that ended while containerd was away, as far as it answers. Not to be called twice at once.</summary>
    public static async Task DeleteEndedAsync(ContainerdClient client, CancellationToken cancellationToken)
    {
        while (client.EndedLeases.TryPeek(out var id))
        {
            try
            {
                await client.Leases.DeleteAsync(new DeleteRequest { Id = id }, client.Call(cancellationToken));
            }
            catch (RpcException gone) when (gone.StatusCode == StatusCode.NotFound)
            {
                // It expired, or the deletion had been carried out.
            }

            client.EndedLeases.TryDequeue(out _);
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
