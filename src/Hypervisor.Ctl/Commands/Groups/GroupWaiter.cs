using Grpc.Core;
using Hypervisor.Ctl.Errors;
using Hypervisor.Ctl.Output;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Ctl.Commands.Groups;

/// <summary>Looks at groups until they are as asked, all against one deadline that starts with the waiter.</summary>
internal sealed class GroupWaiter(Invocation invocation, TimeSpan timeout) : IDisposable
{
    private const string Progressing = "Progressing";

    private readonly long _started = invocation.Environment.Time.GetTimestamp();
    private readonly ProgressLine _progress = new(invocation.Environment);

    public void Dispose() => _progress.Clear();

    /// <param name="deleted">Waits until it is gone.</param>
    /// <returns>The group as it is once done; for a deletion its last state.</returns>
    /// <exception cref="CtlException">It came to a stop (exit code 1) or the time was up (4).</exception>
    public async Task<Group> WaitAsync(Group asked, bool deleted, CancellationToken cancellationToken)
    {
        var (metadata, last) = (asked.Metadata, asked);
        while (true)
        {
            try
            {
                last = await invocation.CallAsync(
                    options => invocation.Groups.GetGroupAsync(new() { Project = metadata.Project, Group = metadata.Uid }, options), cancellationToken);
            }
            catch (RpcException exception) when (exception.StatusCode == StatusCode.NotFound)
            {
                return deleted ? last : throw new CtlException(ExitCode.Refused, $"{metadata.Name} was deleted while waiting for it.");
            }

            if (!deleted && last.Status.ObservedGeneration >= metadata.Generation && ConditionOf(last) is { } progress)
            {
                if (progress.Status == ConditionStatus.False)
                {
                    throw new CtlException(
                        ExitCode.Refused,
                        $"{metadata.Name} does not get on ({progress.Reason}: {progress.Message.TrimEnd('.')}).",
                        $"'hypervisor-ctl group why {metadata.Name}' explains it; 'hypervisor-ctl group rollback {metadata.Name}' undoes an update.");
                }

                if (progress.Reason == "Complete")
                {
                    return last;
                }
            }

            _progress.Show($"{metadata.Name}: {Describe(last)}");
            if (invocation.Environment.Time.GetElapsedTime(_started) >= timeout)
            {
                throw new CtlException(
                    ExitCode.TimedOut,
                    $"{metadata.Name} is not {(deleted ? "gone" : "complete")} after {timeout.TotalSeconds:0.#} s: {Describe(last)}.",
                    $"The request stays in force. 'hypervisor-ctl group why {metadata.Name}' explains it; --timeout waits longer.");
            }

            await Task.Delay(Limits.GroupPause, invocation.Environment.Time, cancellationToken);
        }
    }

    /// <summary>"3 of 5 members ready, 2 updated".</summary>
    public static string Describe(Group group)
    {
        var status = group.Status;
        var updated = status.Updated < status.Current ? $", {status.Updated} updated" : "";
        var deleting = status.Deleting > 0 ? $", {status.Deleting} being deleted" : "";
        return $"{status.Ready} of {status.Desired} members ready{updated}{deleting}";
    }

    public static Condition? ConditionOf(Group group) => group.Status.Conditions.FirstOrDefault(condition => condition.Type == Progressing);
}
