using Grpc.Core;
using Hypervisor.Ctl.Commands;
using Hypervisor.Ctl.Errors;
using Hypervisor.Ctl.Output;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Ctl.Watching;

/// <summary>Waits until instances are as asked, all against one deadline that starts with the waiter.</summary>
internal sealed class InstanceWaiter(Invocation invocation, TimeSpan timeout) : IDisposable
{
    private readonly CancellationTokenSource _deadline = new(timeout, invocation.Environment.Time);
    private readonly ProgressLine _progress = new(invocation.Environment);

    public void Dispose()
    {
        _progress.Clear();
        _deadline.Dispose();
    }

    /// <returns>The instance as it is once done; for a deletion its last state.</returns>
    /// <exception cref="CtlException">It failed (exit code 1) or the time was up (4).</exception>
    public async Task<Instance> WaitAsync(InstanceGoal goal, CancellationToken cancellationToken)
    {
        using var either = CancellationTokenSource.CreateLinkedTokenSource(_deadline.Token, cancellationToken);
        var metadata = goal.Asked.Metadata;
        var last = goal.Asked;
        var watch = Watches.Instances(invocation, new() { Project = metadata.Project, Instance = metadata.Uid });
        try
        {
            await foreach (var change in watch.RunAsync(either.Token))
            {
                if (change.Object is { } seen && seen.Metadata.Uid == metadata.Uid)
                {
                    last = seen;
                }

                if (change.Type == WatchEventType.Deleted)
                {
                    return Gone(goal, last);
                }

                // The present state did not contain it: gone before the watch began.
                if (change is { Type: WatchEventType.Bookmark } && goal.Deleted && ReferenceEquals(last, goal.Asked))
                {
                    return last;
                }

                if (change.Object is null)
                {
                    continue;
                }

                _progress.Show($"{metadata.Name}: {Describe(last)}");
                switch (goal.Judge(last))
                {
                    case GoalState.Reached:
                        _progress.Clear();
                        return last;
                    case GoalState.Failed:
                        _progress.Clear();
                        throw new CtlException(
                            ExitCode.Refused,
                            $"{metadata.Name} is {Describe(last)}.",
                            $"'hypervisor-ctl instance get {metadata.Name}' shows everything that is known about it.");
                }
            }
        }
        catch (RpcException exception) when (exception.StatusCode == StatusCode.NotFound)
        {
            return Gone(goal, last);
        }
        catch (Exception exception) when (exception is OperationCanceledException or RpcException { StatusCode: StatusCode.Cancelled }
            && _deadline.IsCancellationRequested && !cancellationToken.IsCancellationRequested)
        {
            _progress.Clear();
            var wish = goal.Deleted ? "gone" : Readable.Wish(goal.Asked.Spec.DesiredState);
            throw new CtlException(
                ExitCode.TimedOut,
                $"{metadata.Name} is not {wish} after {timeout.TotalSeconds:0.#} s: it is {Describe(last)}.",
                $"The request stays in force. 'hypervisor-ctl instance why {metadata.Name}' explains its placement; --timeout waits longer.");
        }

        throw new System.Diagnostics.UnreachableException("A watch ends only by an exception.");
    }

    public static string Describe(Instance instance)
    {
        var status = instance.Status ?? new InstanceStatus();
        var state = Readable.State(status.State);
        return (status.Reason, status.Message) switch
        {
            ({ Length: > 0 } reason, { Length: > 0 } message) => $"{state} ({reason}: {message.TrimEnd('.')})",
            ({ Length: > 0 } reason, _) => $"{state} ({reason})",
            (_, { Length: > 0 } message) => $"{state} ({message.TrimEnd('.')})",
            _ => state,
        };
    }

    private Instance Gone(InstanceGoal goal, Instance last)
    {
        _progress.Clear();
        return goal.Deleted
            ? last
            : throw new CtlException(ExitCode.Refused, $"{goal.Asked.Metadata.Name} was deleted while waiting for it.");
    }
}
