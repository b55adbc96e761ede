using Hypervisor.Agent.Networking.Netlink;

namespace Hypervisor.Agent.Networking;

/// <summary>
/// Cables of an instance that leaves. Deleting one waits for the kernel's readers (25 ms and more, mostly outside its lock),
/// so it is done beside the network thread: the socket, made on that thread, belongs to the host's namespace wherever it is used.
/// </summary>
internal sealed class Departure(IReadOnlyList<string> links) : IDisposable
{
    private readonly NetlinkSocket _route = NetlinkSocket.Open();

    public void DeleteLinks()
    {
        foreach (var link in links)
        {
            _route.DeleteLink(link);
        }
    }

    public void Dispose() => _route.Dispose();
}
