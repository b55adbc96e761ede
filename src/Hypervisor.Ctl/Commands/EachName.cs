using Grpc.Core;
using Hypervisor.Ctl.Errors;

namespace Hypervisor.Ctl.Commands;

/// <summary>Does the same to several objects: one that is refused does not keep the others from their turn.</summary>
internal static class EachName
{
    /// <returns>The exit code of the first failure, else 0. A server out of reach ends it at once.</returns>
    public static async Task<int> RunAsync<T>(IReadOnlyList<T> items, Func<T, string> name, Invocation invocation, Func<T, Task> act)
    {
        var exitCode = ExitCode.Done;
        foreach (var item in items)
        {
            try
            {
                await act(item);
            }
            catch (Exception exception) when (exception is RpcException or CtlException)
            {
                invocation.Environment.Out.Flush();
                var code = ErrorReport.Write(invocation.Environment, exception, items.Count > 1 ? name(item) : null);
                exitCode = exitCode == ExitCode.Done ? code : exitCode;
            }
        }

        return exitCode;
    }
}
