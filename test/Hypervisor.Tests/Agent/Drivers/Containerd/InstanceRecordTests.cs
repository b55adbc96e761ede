using Containerd.Services.Containers.V1;
using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Drivers.Containerd;
using Hypervisor.Hosting.Randomness;
using Hypervisor.Protocol;
using Xunit;

namespace Hypervisor.Tests.Agent.Drivers.Containerd;

/// <summary>Protects: what the driver knows of an instance survives in containerd's labels.</summary>
public sealed class InstanceRecordTests
{
    [Fact]
    public void A_record_is_read_as_it_was_written()
    {
        var exit = new RecordedExit(137, OutOfMemory: true, DateTimeOffset.FromUnixTimeMilliseconds(1_700_000_000_123));
        var record = new InstanceRecord(
            "uid", new Epoch(5), "web", "default", 3, 4, "sha256:x", 250, new RestartCount(9, 2),
            new RunSettings(Stdin: true, Terminal: false, 65536, 3), exit)
        {
            StopSignal = 3,
            Rate = new IoRate(65536, 0, 10, 0),
        };
        var container = new Container { Id = "uid" };
        record.WriteTo(container.Labels);
        Assert.Equal(record, InstanceRecord.Read(container));
        Assert.Equal((137, 9, true), (exit.ToStatus().Code, exit.ToStatus().Signal, exit.ToStatus().OutOfMemory));
    }

    [Fact]
    public void A_container_without_labels_has_epoch_zero() => Assert.Equal(Epoch.None, InstanceRecord.Read(new Container { Id = "x" }).Epoch);

    [Theory]
    [InlineData(0, 0)]
    [InlineData(128, 0)]
    [InlineData(143, 15)]
    [InlineData(255, 0)]
    public void Codes_up_to_the_last_signal_are_signals(int code, int signal) => Assert.Equal(signal, new RecordedExit(code, false, null).Signal);

    [Fact]
    public void A_run_that_ended_well_was_not_out_of_memory() => Assert.False(new RecordedExit(0, OutOfMemory: true, null).ToStatus().OutOfMemory);

    [Fact]
    public void A_shim_is_shared_by_few_of_one_project_and_its_name_is_never_used_again()
    {
        var groups = new ShimGroups(new SystemRandomSource());
        var first = groups.Join("0", "p");
        Assert.Equal(first, groups.Join("0", "p"));
        Assert.NotEqual(first, groups.Join("other", "q"));
        for (var index = 1; index < ContainerdLimits.ContainersPerShim; index++)
        {
            Assert.Equal(first, groups.Join($"{index}", "p"));
        }

        Assert.NotEqual(first, groups.Join("one more", "p"));
        for (var index = 0; index < ContainerdLimits.ContainersPerShim; index++)
        {
            groups.Leave($"{index}");
        }

        groups.Leave("one more");
        Assert.NotEqual(first, groups.Join("0", "p"));
    }
}
