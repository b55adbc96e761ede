using Grpc.Core;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.State;

namespace Hypervisor.Server.Api;

/// <summary>Tells how old a stale answer may be, where the answer itself has no place for it.</summary>
internal static class ViewAge
{
    /// <summary>A response header; over REST likewise. Seconds.</summary>
    public const string Header = "view-age";

    /// <summary>The answer with its age, when the caller asked for a stale one. The age is taken first: what is answered is not older.</summary>
    public static async Task<TAnswer> TellAsync<TAnswer>(
        ServerCallContext context, Consistency consistency, ViewReads reads, Func<Task<TAnswer>> answer)
    {
        if (consistency != Consistency.Stale)
        {
            return await answer();
        }

        var age = reads.Age;
        var told = await answer();
        await context.WriteResponseHeadersAsync(
            new() { { Header, age.TotalSeconds.ToString("0.###", System.Globalization.CultureInfo.InvariantCulture) } });
        return told;
    }
}
