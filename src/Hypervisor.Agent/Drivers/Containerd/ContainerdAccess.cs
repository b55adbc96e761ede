using System.Runtime.CompilerServices;
using Containerd.Services.Containers.V1;
using Google.Protobuf.WellKnownTypes;
using Grpc.Core;
using Hypervisor.Agent.Copying;
using Hypervisor.Agent.Drivers.Containerd.Connection;
using Hypervisor.Agent.Drivers.Containerd.Kernel;
using Hypervisor.Agent.Drivers.Containerd.Spec;
using Hypervisor.Agent.Drivers.Containerd.Streams;
using Hypervisor.Agent.Logs;
using Hypervisor.Hosting.Randomness;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using TaskStatus = Containerd.Types.Tasks.Status;

namespace Hypervisor.Agent.Drivers.Containerd;

/// <summary>The way into containers.</summary>
internal sealed class ContainerdAccess(
    ContainerdClient client,
    InstanceDefinitions definitions,
    ContainerTasks tasks,
    InstanceFiles files,
    ExecSessions execs,
    Cgroups cgroups,
    LogStore logs,
    IRandomSource random,
    TimeProvider time) : IInstanceAccess
{
    public Task SweepAsync(CancellationToken cancellationToken) => execs.SweepAsync(cancellationToken);

    public async Task<IInstanceProcess> ExecAsync(InstanceId id, Epoch epoch, ExecInput request, CancellationToken cancellationToken)
    {
        var (container, _, processId) = await FindAsync(id, epoch, cancellationToken, paused: false);
        var main = RuntimeSpec.Parse(container.Spec.Value.Span).Process;
        ProcessIdentity? identity = null;
        if (request.User.Length > 0)
        {
            using var root = RootDirectory.OfProcess(processId);
            identity = AccountFiles.Resolve(request.User, root.ReadText("etc/passwd"), root.ReadText("etc/group"));
        }

        var process = ExecRenderer.Render(main, request, identity);
        return await GuardAsync(
            async () => (IInstanceProcess)await execs.StartAsync(id.Value, process, request.AttachStdin, cancellationToken), cancellationToken);
    }

    public async Task<IInstanceProcess> AttachAsync(InstanceId id, Epoch epoch, CancellationToken cancellationToken)
    {
        var (_, record, _) = await FindAsync(id, epoch, cancellationToken);
        var log = logs.Of(id);
        return log.CurrentRun is { } run
            ? new MainConsole(client, id.Value, log, run, record.Run, files.InputOf(id.Value))
            : throw NotRunning(id);
    }

    public async Task<InstanceStats> MeasureAsync(InstanceId id, Epoch epoch, CancellationToken cancellationToken)
    {
        var (_, _, processId) = await FindAsync(id, epoch, cancellationToken);
        var stats = new InstanceStats { SampledAt = Timestamp.FromDateTimeOffset(time.GetUtcNow()) };
        CgroupStatistics.Read(cgroups.DirectoriesOf(id.Value), stats);
        try
        {
            stats.Network = CgroupStatistics.ReadNetwork(File.ReadLines($"/proc/{processId}/net/dev"));
        }
        catch (IOException)
        {
            throw NotRunning(id);
        }

        return stats;
    }

    public async IAsyncEnumerable<CopyPart> CopyOutAsync(
        InstanceId id, Epoch epoch, string path, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        using var root = await OpenRootAsync(id, epoch, cancellationToken);
        await foreach (var part in TreeReader.ReadAsync(root, path, cancellationToken))
        {
            yield return part;
        }
    }

    public async Task<ITreeWriter> CopyInAsync(InstanceId id, Epoch epoch, CopyToHeader header, CancellationToken cancellationToken) =>
        new RootTreeWriter(await OpenRootAsync(id, epoch, cancellationToken), header, random);

    /// <summary>The root of its file system as its processes see it.</summary>
    public async Task<RootDirectory> OpenRootAsync(InstanceId id, Epoch epoch, CancellationToken cancellationToken)
    {
        var (_, _, processId) = await FindAsync(id, epoch, cancellationToken);
        return RootDirectory.OfProcess(processId);
    }

    public InstanceLog LogOf(InstanceId id) => logs.Of(id);

    private static DriverException NotRunning(InstanceId id) =>
        new("NotRunning", $"no process of instance {id} runs; start it first", permanent: false);

    private async Task<(Container Container, InstanceRecord Record, int ProcessId)> FindAsync(
        InstanceId id, Epoch epoch, CancellationToken cancellationToken, bool paused = true) => await GuardAsync(
        async () =>
        {
            var container = await definitions.FindContainerAsync(id.Value, cancellationToken) ?? throw NotRunning(id);
            var record = InstanceRecord.Read(container);
            if (record.Epoch != epoch)
            {
                throw new DriverException("EpochMismatch", $"the call is of epoch {epoch}, the container of epoch {record.Epoch}", permanent: true);
            }

            var task = await tasks.FindAsync(id.Value, cancellationToken);
            if (!paused && task?.Status is TaskStatus.Paused or TaskStatus.Pausing)
            {
                throw new DriverException("Paused", "it is paused; resume it first", permanent: false);
            }

            return ContainerTasks.IsAlive(task) ? (container, record, (int)task!.Pid) : throw NotRunning(id);
        },
        cancellationToken);

    private async Task<T> GuardAsync<T>(Func<Task<T>> work, CancellationToken cancellationToken)
    {
        try
        {
            return await work();
        }
        catch (RpcException error)
        {
            cancellationToken.ThrowIfCancellationRequested();
            throw RuntimeErrors.Translate(error, client.SocketPath);
        }
    }
}
