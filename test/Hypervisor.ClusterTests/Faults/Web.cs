using System.Net;
using System.Net.Sockets;
using Hypervisor.TestCluster;

namespace Hypervisor.ClusterTests.Faults;

/// <summary>A client of an instance's web server, somewhere on the network.</summary>
internal static class Web
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(2);

    /// <exception cref="HttpRequestException">No answer.</exception>
    /// <exception cref="OperationCanceledException">No answer in time.</exception>
    private static async Task<string> FetchAsync(string namespacePath, string address, int port)
    {
        using var client = new HttpClient(new SocketsHttpHandler
        {
            ConnectCallback = async (context, _) => new NetworkStream(
                await Linux.ConnectInsideAsync(
                    namespacePath, new IPEndPoint(IPAddress.Parse(context.DnsEndPoint.Host), context.DnsEndPoint.Port), Patience),
                ownsSocket: true),
        })
        { Timeout = Patience + Patience };
        return await client.GetStringAsync($"http://{address}:{port}/");
    }

    public static async Task<bool> AnswersAsync(string namespacePath, string address, int port)
    {
        try
        {
            return (await FetchAsync(namespacePath, address, port)).Contains("It runs.", StringComparison.Ordinal);
        }
        catch (Exception failure) when (failure is HttpRequestException or OperationCanceledException)
        {
            return false;
        }
    }
}
