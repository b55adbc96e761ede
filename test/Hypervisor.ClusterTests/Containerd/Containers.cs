using Containerd.Services.Tasks.V1;
using Hypervisor.Agent.Drivers;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Xunit;

#pragma warning disable RS0030

namespace Hypervisor.ClusterTests.Containerd;

/// <summary>What the tests do again and again.</summary>
internal static class Containers
{
    public static readonly Epoch First = new((1L << 48) + 1);

    public static CancellationToken Cancel => TestContext.Current.CancellationToken;

    public static InstanceDefinition Define(this ContainerdHost host, params string[] command)
    {
        var assignment = new Assignment
        {
            Uid = Guid.NewGuid().ToString(),
            Name = "web",
            Project = "default",
            Generation = 1,
            Epoch = First.Value,
            Spec = new InstanceSpec
            {
                Type = InstanceType.Container,
                Image = "busybox",
                Resources = new Resources { CpuMillicores = 500, MemoryBytes = 64 << 20 },
                Process = new ProcessSpec(),
                Network = new NetworkSpec(),
                Security = new SecuritySpec(),
                RestartGeneration = 7,
            },
        };
        assignment.Spec.Process.Command.Add(command);
        return new InstanceDefinition(assignment, host.Image.Digest, Network: null);
    }

    public static InstanceDefinition DefineShell(this ContainerdHost host, string script) => host.Define("/bin/sh", "-c", script);

    public static async Task<DriverInstance> StartAsync(this ContainerdHost host, InstanceDefinition definition)
    {
        await host.Driver.CreateAsync(definition, Cancel);
        await host.Driver.StartAsync(definition.Id, definition.Epoch, Cancel);
        return (await host.Driver.GetAsync(definition.Id, Cancel))!;
    }

    public static async Task<DriverInstance> RunToEndAsync(this ContainerdHost host, InstanceDefinition definition)
    {
        await host.StartAsync(definition);
        return await host.EndAsync(definition);
    }

    public static async Task<DriverInstance> EndAsync(this ContainerdHost host, InstanceDefinition definition)
    {
        try
        {
            await host.Client.Tasks.WaitAsync(new WaitRequest { ContainerId = definition.Id.Value }, host.Client.Call(ContainerdHost.Patience, Cancel));
        }
        catch (Grpc.Core.RpcException error) when (error.StatusCode == Grpc.Core.StatusCode.NotFound)
        {
            // Ended and noted already.
        }

        return (await host.Driver.GetAsync(definition.Id, Cancel))!;
    }

    /// <summary>Exit code of a shell script in a container; 0 is what the tests hope for.</summary>
    public static async Task AssertHoldsAsync(this ContainerdHost host, string script, Action<InstanceDefinition>? change = null)
    {
        var definition = host.DefineShell(script);
        change?.Invoke(definition);
        var ended = await host.RunToEndAsync(definition);
        Assert.True(ended.Exit?.Code == 0, $"exit {ended.Exit?.Code} of: {script}");
    }

    public static Dictionary<string, string> ProcessStatus(int pid) => File.ReadAllLines($"/proc/{pid}/status")
        .Select(line => line.Split(':', 2))
        .ToDictionary(parts => parts[0], parts => parts[1].Trim());
}
