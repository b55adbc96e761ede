using Grpc.Core;
using Hypervisor.Agent.Drivers;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Instances.Health;

/// <summary>Runs a command in the instance, as its main process runs: 0 is a success. None outlives its check.</summary>
internal sealed class ExecHealthProbe(TimeProvider time) : IHealthProbe
{
    private const int ReadBytes = 4096;

    public async Task<HealthResult?> CheckAsync(HealthTarget target, CancellationToken cancellationToken)
    {
        if (target.Access is not { } access)
        {
            return new HealthResult(false, "its driver cannot run commands in instances");
        }

        IInstanceProcess process;
        try
        {
            var request = new ExecInput { Command = { target.Check.Exec.Command } };
            process = await access.ExecAsync(target.Id, target.Epoch, request, cancellationToken);
        }
        catch (DriverException failure) when (failure.Reason is "NotRunning" or "EpochMismatch" or "RuntimeUnavailable")
        {
            // It is ending, or the runtime is away.
            return null;
        }
        catch (OperationCanceledException)
        {
            // Nothing runs yet: the runtime was slow, not the instance.
            return null;
        }
        catch (DriverException failure)
        {
            return new HealthResult(false, failure.Message);
        }

        await using var ending = process;
        return await WaitAsync(process, target.Check, cancellationToken);
    }

    private async Task<HealthResult?> WaitAsync(IInstanceProcess process, HealthCheck check, CancellationToken cancellationToken)
    {
        // Which of two pipes was written to first cannot be known: the errors come last, so that the same failure reads the same each time.
        var (output, errors) = (new OutputTail(Limits.HealthOutputBytes), new OutputTail(Limits.HealthOutputBytes));
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        var reading = Task.WhenAll(
            ReadAsync(process, LogStream.Stdout, output, stop.Token), ReadAsync(process, LogStream.Stderr, errors, stop.Token));
        var program = check.Exec.Command[0];
        try
        {
            var exit = await process.ExitAsync(cancellationToken);
            if (exit.Code == 0)
            {
                return new HealthResult(true, "");
            }

            await Task.WhenAny(reading, Task.Delay(Limits.HealthOutputWait, time, stop.Token));
            return new HealthResult(false, $"{program} ended with {exit.Code}{output.Then(errors)}");
        }
        catch (Exception ended) when (ended is OperationCanceledException or RpcException { StatusCode: StatusCode.Cancelled })
        {
            return new HealthResult(false, $"{program} did not end within {check.Timeout.ToTimeSpan().TotalSeconds:0.###} s{output.Then(errors)}");
        }
        catch (RpcException)
        {
            // The runtime lost sight of it.
            return null;
        }
        finally
        {
            stop.Cancel();
            await reading.ConfigureAwait(ConfigureAwaitOptions.ContinueOnCapturedContext | ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    /// <summary>Also what nobody will see: a process whose pipe is full stands still.</summary>
    private static async Task ReadAsync(IInstanceProcess process, LogStream stream, OutputTail tail, CancellationToken cancellationToken)
    {
        var buffer = new byte[ReadBytes];
        while (await process.ReadAsync(stream, buffer, cancellationToken) is > 0 and var read)
        {
            tail.Add(buffer.AsSpan(0, read));
        }
    }
}
