using System.Diagnostics;
using Grpc.Core;
using Hypervisor.Protocol.V1;
using Hypervisor.TestCluster;

namespace Hypervisor.Bench;

/// <summary>Guests made through the API, each of which writes one line to its serial console and then sleeps.</summary>
internal sealed class BenchGuests(LocalCluster cluster)
{
    private static readonly TimeSpan _boot = TimeSpan.FromSeconds(120);

    public Task AvailableAsync(InstanceType type) => RealTime.UntilAsync($"the node runs {type}s", _boot, async () =>
        (await cluster.Nodes.ListNodesAsync(new ListNodesRequest(), deadline: LocalCluster.Deadline(5)))
            .Nodes.Any(node => node.Status.Inventory.Runtimes.Any(runtime => runtime.Type == type && runtime.Available)));

    /// <summary>Milliseconds from the call until its entry point has written the line to standard output, where the node takes it in.</summary>
    public async Task<double> FirstByteAsync(string name, Resources size, bool warm)
    {
        var started = Stopwatch.GetTimestamp();
        var created = await CreateAsync(InstanceType.Microvm, name, size, $"echo {ConsoleFile.Line}; exec sleep 3600", warm);
        await ConsoleFile.HasLineAsync($"{cluster.NodeFolder}/agent/logs/microvm/raw/{created.Metadata.Uid}.1.out", _boot);
        return Stopwatch.GetElapsedTime(started).TotalMilliseconds;
    }

    /// <summary>Milliseconds from the call until the console has the line that its entry point writes.</summary>
    public async Task<double> FirstLineAsync(InstanceType type, string name, Resources size)
    {
        var started = Stopwatch.GetTimestamp();
        var created = await CreateAsync(type, name, size, $"mknod /dev/ttyS0 c 4 64; echo {ConsoleFile.Line} > /dev/ttyS0; exec sleep 3600", warm: false);
        await ConsoleFile.HasLineAsync(Path.Combine(FolderOf(type, created.Metadata.Uid), "console.log"), _boot);
        return Stopwatch.GetElapsedTime(started).TotalMilliseconds;
    }

    private async Task<Instance> CreateAsync(InstanceType type, string name, Resources size, string script, bool warm) =>
        await cluster.Compute.CreateInstanceAsync(
            new CreateInstanceRequest
            {
                Name = name,
                Spec = new InstanceSpec
                {
                    Type = type,
                    Image = "busybox",
                    Resources = size,
                    Process = new ProcessSpec { Command = { "sh", "-c", script } },
                    Stop = new StopSpec { Signal = "SIGKILL" },
                    Machine = warm ? new MachineSpec { WarmStart = true } : null,
                },
            },
            deadline: LocalCluster.Deadline(30));

    public async Task DeleteAsync(string name)
    {
        await cluster.Compute.DeleteInstanceAsync(new DeleteInstanceRequest { Instance = name }, deadline: LocalCluster.Deadline(10));
        await RealTime.UntilAsync($"{name} is gone", TimeSpan.FromSeconds(60), async () =>
        {
            try
            {
                await cluster.Compute.GetInstanceAsync(new GetInstanceRequest { Instance = name }, deadline: LocalCluster.Deadline(5));
                return false;
            }
            catch (RpcException exception) when (exception.StatusCode == StatusCode.NotFound)
            {
                return true;
            }
        });
    }

    public string FolderOf(InstanceType type, string uid) =>
        $"{cluster.NodeFolder}/agent/guests/{(type == InstanceType.Vm ? "vm" : "microvm")}/{uid}";
}
