using Containerd.Services.Tasks.V1;
using Grpc.Core;
using Hypervisor.Agent.Drivers.Containerd.Connection;
using Hypervisor.Agent.Drivers.Containerd.Kernel;
using Hypervisor.Agent.Streams;
using Hypervisor.Protocol.V1;
using TaskGetRequest = Containerd.Services.Tasks.V1.GetRequest;

namespace Hypervisor.Agent.Drivers.Containerd.Streams;

/// <summary>One additional process of a container. It ends, at the latest, when this is disposed of.</summary>
/// <param name="pipes">Null for one that an earlier agent started.</param>
internal sealed class ExecProcess(ContainerdClient client, Cgroups cgroups, TimeProvider time, string id, string execId, ExecPipes? pipes)
    : IInstanceProcess
{
    private static readonly TimeSpan RuntimeAway = TimeSpan.FromMilliseconds(200);

    private int _processId;
    private bool _exited;

    public void Started(int processId)
    {
        _processId = processId;
        pipes?.Release();
    }

    /// <summary>Finds out its process id.</summary>
    public async Task FindAsync(CancellationToken cancellationToken)
    {
        try
        {
            var found = await client.Tasks.GetAsync(new TaskGetRequest { ContainerId = id, ExecId = execId }, client.Call(cancellationToken));
            _processId = (int)found.Process.Pid;
        }
        catch (RpcException error) when (IsGone(error))
        {
            _exited = true;
        }
    }

    public ValueTask<int> ReadAsync(LogStream stream, Memory<byte> buffer, CancellationToken cancellationToken) =>
        (stream == LogStream.Stderr ? pipes?.Error : pipes?.Output)?.ReadAsync(buffer, cancellationToken) ?? ValueTask.FromResult(0);

    public async ValueTask WriteAsync(ReadOnlyMemory<byte> data, CancellationToken cancellationToken)
    {
        // What comes after the end of the input, or was never wanted, has no reader.
        if (pipes?.Input is { } input)
        {
            await input.WriteAsync(data, cancellationToken);
        }
    }

    public async Task CloseInputAsync(CancellationToken cancellationToken)
    {
        if (pipes?.Input is null)
        {
            return;
        }

        pipes.CloseInput();
        await IfThereAsync(() => client.Tasks.CloseIOAsync(
            new CloseIORequest { ContainerId = id, ExecId = execId, Stdin = true }, client.Call(cancellationToken)));
    }

    public async Task ResizeAsync(TerminalSize size, CancellationToken cancellationToken)
    {
        try
        {
            await client.Tasks.ResizePtyAsync(
                new ResizePtyRequest { ContainerId = id, ExecId = execId, Width = (uint)size.Columns, Height = (uint)size.Rows },
                client.Call(cancellationToken));
        }
        catch (RpcException) when (!cancellationToken.IsCancellationRequested)
        {
            // The process is ending; its exit says what there is to say.
        }
    }

    public Task SignalAsync(int signal, CancellationToken cancellationToken) => IfThereAsync(() => client.Tasks.KillAsync(
        new KillRequest { ContainerId = id, ExecId = execId, Signal = (uint)signal }, client.Call(ContainerdLimits.Ending, cancellationToken)));

    public async Task<ExitStatus> ExitAsync(CancellationToken cancellationToken)
    {
        while (true)
        {
            try
            {
                var answer = await client.Tasks.WaitAsync(
                    new WaitRequest { ContainerId = id, ExecId = execId }, client.Call(null, cancellationToken));
                _exited = true;
                return new RecordedExit((int)answer.ExitStatus & 0xFF, OutOfMemory: false, At: null).ToStatus();
            }
            catch (RpcException error) when (IsGone(error))
            {
                // Its container ended, and took it with it.
                _exited = true;
                return new ExitStatus { Code = 128 + NativeMethods.SigKill, Signal = NativeMethods.SigKill };
            }
            catch (RpcException error) when (error.StatusCode == StatusCode.Unavailable && !cancellationToken.IsCancellationRequested)
            {
                // containerd is being restarted; the process and its pipes are its shim's.
                await Task.Delay(RuntimeAway, time, cancellationToken);
            }
        }
    }

    public async ValueTask DisposeAsync()
    {
        // Not cancelled with the client: its going away is why this is called.
        using var deadline = new CancellationTokenSource(StreamLimits.CleanUp, time);
        try
        {
            if (!_exited && _processId <= 0)
            {
                // Its start was given up here; containerd may have gone through with it.
                await FindAsync(deadline.Token);
            }

            if (!_exited)
            {
                KillSession();
                await SignalAsync(NativeMethods.SigKill, deadline.Token);
                await (_processId > 0 ? ExitAsync(deadline.Token) : Task.CompletedTask);
            }

            await IfThereAsync(() => client.Tasks.DeleteProcessAsync(
                new DeleteProcessRequest { ContainerId = id, ExecId = execId }, client.Call(ContainerdLimits.Ending, deadline.Token)));
        }
        catch (Exception failure) when (failure is RpcException or OperationCanceledException)
        {
            // A runtime that does not answer: the process was killed by the kernel's own means, its record goes with the container.
        }
        finally
        {
            pipes?.Dispose();
        }
    }

    private static bool IsGone(RpcException error) => error.StatusCode == StatusCode.NotFound || RuntimeErrors.IsDeadShim(error);

    private static async Task IfThereAsync<T>(Func<AsyncUnaryCall<T>> call)
    {
        try
        {
            await call();
        }
        catch (RpcException error) when (IsGone(error) || error.StatusCode == StatusCode.FailedPrecondition
            || error.Status.Detail.Contains("process already finished", StringComparison.Ordinal))
        {
            // It ended meanwhile.
        }
    }

    /// <summary>
    /// runc makes each process the leader of a session (nsexec.c): its children, unless they left it on purpose, are in it too. Only
    /// processes in the container's own cgroup are looked at.
    /// </summary>
    private void KillSession()
    {
        if (_processId <= 0)
        {
            return;
        }

        foreach (var pid in cgroups.Processes(id).Where(pid => SessionOf(pid) == _processId))
        {
            NativeMethods.Kill(pid, NativeMethods.SigKill);
        }
    }

    private static int SessionOf(int pid)
    {
        try
        {
            // proc(5): the second field, a name in parentheses, may contain anything; session is the fourth after it.
            var stat = File.ReadAllText($"/proc/{pid}/stat");
            var fields = stat[(stat.LastIndexOf(')') + 1)..].Split(' ', StringSplitOptions.RemoveEmptyEntries);
            return int.Parse(fields[3], System.Globalization.CultureInfo.InvariantCulture);
        }
        catch (IOException)
        {
            return 0;
        }
    }
}
