using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Grpc.Core;
using Hypervisor.Protocol.V1;
using Hypervisor.TestCluster;

namespace Hypervisor.ClusterTests.Faults;

/// <summary>What the tests of faults ask of a cluster's API, each call with a deadline.</summary>
internal static class Instances
{
    public static CreateInstanceRequest Request(string name, string image, params string[] command) => new()
    {
        Name = name,
        Spec = new InstanceSpec
        {
            Type = InstanceType.Container,
            Image = image,
            Resources = new Resources { CpuMillicores = 50, MemoryBytes = 32 << 20 },
            Process = new ProcessSpec { Command = { command } },
            Stop = new StopSpec { Signal = "SIGKILL", GracePeriod = Duration.FromTimeSpan(TimeSpan.FromSeconds(1)) },
        },
    };

    public static async Task<Instance> CreateAsync(this LocalCluster cluster, CreateInstanceRequest request) =>
        await cluster.Compute.CreateInstanceAsync(request, deadline: LocalCluster.Deadline(10));

    public static async Task<Instance> RunAsync(this LocalCluster cluster, string name, params string[] command)
    {
        await cluster.CreateAsync(Request(name, "busybox", command));
        return await cluster.RunningAsync(name);
    }

    public static Task<Instance> RunningAsync(this LocalCluster cluster, string name, double seconds = 30) =>
        cluster.InstanceAsync(name, $"{name} runs", instance => Settled(instance, InstanceState.Running), seconds);

    public static bool Settled(Instance instance, InstanceState state) =>
        instance.Status.State == state && instance.Status.ObservedGeneration == instance.Metadata.Generation;

    /// <summary>Until nothing of it is known any more.</summary>
    public static async Task DeleteAsync(this LocalCluster cluster, string name)
    {
        await cluster.Compute.DeleteInstanceAsync(new DeleteInstanceRequest { Instance = name }, deadline: LocalCluster.Deadline(10));
        await RealTime.UntilAsync($"{name} is gone", TimeSpan.FromSeconds(30), async () =>
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

    /// <summary>Null when it does not answer.</summary>
    public static async Task<(int Code, string Output)?> ExecAsync(this LocalCluster cluster, string name, params string[] command)
    {
        try
        {
            using var call = cluster.Compute.Exec(deadline: LocalCluster.Deadline(20));
            await call.RequestStream.WriteAsync(new ExecInput { Instance = name, Command = { command } });
            var output = ByteString.Empty;
            var code = -1;
            await foreach (var message in call.ResponseStream.ReadAllAsync())
            {
                output = ByteString.CopyFrom([.. output, .. message.Stdout]);
                code = message.Exit?.Code ?? code;
            }

            return (code, output.ToStringUtf8());
        }
        catch (RpcException)
        {
            return null;
        }
    }

    /// <summary>Waits until the machine holds what it held before, and fails with the difference.</summary>
    public static async Task LeavesAsync(this LocalMachine machine, IReadOnlyList<string> baseline, string what, double seconds = 15)
    {
        IReadOnlyList<string> present = [];
        try
        {
            await RealTime.UntilAsync($"{what} leaves nothing", TimeSpan.FromSeconds(seconds), async () =>
                baseline.SequenceEqual(present = await new Leftovers(machine).ListAsync()));
        }
        catch (TimeoutException exception)
        {
            var more = present.Except(baseline).Select(line => "+ " + line).Concat(baseline.Except(present).Select(line => "- " + line));
            throw new TimeoutException($"{exception.Message}:\n{string.Join('\n', more)}\n{machine.Agent.Log}", exception);
        }
    }

    /// <summary>What a user without rights could write to, of all that the programs of a cluster have made; a line each.</summary>
    public static async Task<string> WritableByNobodyAsync(this LocalCluster cluster) => (await Shell.TryRunAsync(
        "setpriv",
        [
            "--reuid=65534", "--regid=65534", "--clear-groups",
            "find", cluster.Folder, cluster.RunFolder, "/run/containerd", "-writable", "!", "-type", "l",
        ])).Output;

    /// <summary>The main process of an instance: of all its processes the one whose parent is not among them.</summary>
    public static int ProcessOf(this LocalMachine machine, Instance instance)
    {
        var cgroup = $"/sys/fs/cgroup/pids{machine.CgroupParent}/{instance.Metadata.Uid}";
        var all = File.ReadAllLines($"{cgroup}/cgroup.procs").Select(int.Parse).ToHashSet();
        return all.Single(pid => ParentOf(pid) is { } parent && !all.Contains(parent));

        // proc(5): the fields after the name in brackets, which may hold anything.
        static int? ParentOf(int pid)
        {
            try
            {
                var stat = File.ReadAllText($"/proc/{pid}/stat");
                return int.Parse(stat[(stat.LastIndexOf(')') + 2)..].Split(' ')[1], System.Globalization.CultureInfo.InvariantCulture);
            }
            catch (IOException)
            {
                // It has ended since.
                return null;
            }
        }
    }
}
