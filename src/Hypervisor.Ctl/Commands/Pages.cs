using Grpc.Core;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Ctl.Commands;

/// <summary>Reads all pages of a list into one answer.</summary>
internal static class Pages
{
    /// <returns>The first page with the objects of the others added and without a page token.</returns>
    public static async Task<T> ReadAsync<T>(
        Func<string, CallOptions, AsyncUnaryCall<T>> call,
        Func<T, ListMeta?> meta,
        Action<T, T> append,
        Invocation invocation,
        CancellationToken cancellationToken)
    {
        var all = await invocation.CallAsync(options => call("", options), cancellationToken);
        var token = meta(all)?.NextPageToken ?? "";
        while (token.Length > 0)
        {
            var from = token;
            var page = await invocation.CallAsync(options => call(from, options), cancellationToken);
            append(all, page);
            token = meta(page)?.NextPageToken ?? "";
        }

        if (meta(all) is { } list)
        {
            list.NextPageToken = "";
        }

        return all;
    }
}
