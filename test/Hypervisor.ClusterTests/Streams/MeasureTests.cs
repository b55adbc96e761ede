using Hypervisor.Agent.Copying;
using Hypervisor.Agent.Drivers.Containerd;
using Hypervisor.ClusterTests.Containerd;
using Hypervisor.Hosting.Randomness;
using Hypervisor.Protocol.V1;
using Xunit;
using static Hypervisor.ClusterTests.Containerd.Containers;

namespace Hypervisor.ClusterTests.Streams;

/// <summary>Protects: figures that agree with the kernel's own, and copies that go through the container's mounts as its processes see them.</summary>
[Collection(WholeMachine.Name)]
public sealed class MeasureTests(ContainerdHost host) : IClassFixture<ContainerdHost>
{
    [Fact]
    public async Task Figures_agree_with_what_the_kernel_says_of_the_processes()
    {
        var definition = host.DefineShell("i=0; while test $i -lt 200000; do i=$((i+1)); done; touch /tmp/done; exec sleep 1000");
        var instance = await host.StartAsync(definition);
        await ContainerdHost.UntilAsync(
            async () =>
            {
                using var root = await ((ContainerdAccess)host.Access).OpenRootAsync(definition.Id, First, Cancel);
                return root.Find("/tmp/done") is not null;
            },
            "the work is done");
        var stats = await host.Access.MeasureAsync(definition.Id, First, Cancel);
        var fields = File.ReadAllText($"/proc/{instance.ProcessId}/stat").Split(' ');
        var ticks = double.Parse(fields[13]) + double.Parse(fields[14]);
        Assert.InRange(stats.CpuTime.ToTimeSpan().TotalSeconds, ticks / 100 * 0.8, (ticks / 100) + 2);
        Assert.Equal((64 << 20, 1, 4096), (stats.MemoryLimitBytes, stats.Pids, stats.PidsLimit));
        Assert.InRange(stats.MemoryBytes, 16 * 1024, 64 << 20);
        var next = await host.Access.MeasureAsync(definition.Id, First, Cancel);
        Assert.True(next.CpuTime.ToTimeSpan() >= stats.CpuTime.ToTimeSpan());
    }

    [Fact]
    public async Task Copies_reach_what_the_container_has_mounted_and_nothing_of_the_host()
    {
        var definition = host.DefineShell("ln -s / /tmp/root; ln -s ../../../../../../etc /tmp/up; exec sleep 1000");
        await host.StartAsync(definition);
        await ContainerdHost.UntilAsync(
            async () =>
            {
                using var root = await ((ContainerdAccess)host.Access).OpenRootAsync(definition.Id, First, Cancel);
                return root.Find("/tmp/up/hostname") is not null;
            },
            "the links are there");
        using var rootDirectory = await ((ContainerdAccess)host.Access).OpenRootAsync(definition.Id, First, Cancel);
        Assert.Equal("web\n", rootDirectory.ReadText("tmp/up/hostname"));
        Assert.Equal("here", rootDirectory.ReadText("tmp/root/work/marker"));
        using (var writer = new TreeWriter(rootDirectory, "/dev/shm", "put", new SystemRandomSource()))
        {
            writer.Add(new FileEntry { Kind = FileKind.File, Mode = 0x1A4, SizeBytes = 2, UserId = 1000, GroupId = 1001 });
            writer.Write("hi"u8);
            writer.Complete();
        }

        Assert.Equal("hi", rootDirectory.ReadText("dev/shm/put"));
        Assert.False(File.Exists("/dev/shm/put"));
    }
}
