using Hypervisor.TestCluster.Traces;
using Xunit;

namespace Hypervisor.ClusterTests.Proof;

/// <summary>
/// Protects: a write is acknowledged only when the disk has it (Durable), by what the kernel was asked for: one trace of the
/// writer and, on etcd, of its member.
/// </summary>
public sealed class AcknowledgementTests
{
    private const string Calls = "trace=write,pwrite64,fdatasync,fsync";
    private const int Writers = 16;
    private const int Records = 320;
    private const int RecordBytes = 200;

    public enum Planted
    {
        Nothing,

        /// <summary>The writer does not wait for the store.</summary>
        EarlyAcknowledgement,

        /// <summary>Syncs succeed without having been done.</summary>
        NoSync,
    }

    [Theory(Timeout = 120_000)]
    [InlineData(false, Planted.Nothing)]
    [InlineData(false, Planted.EarlyAcknowledgement)]
    [InlineData(false, Planted.NoSync)]
    [InlineData(true, Planted.Nothing)]
    [InlineData(true, Planted.EarlyAcknowledgement)]
    [InlineData(true, Planted.NoSync)]
    public async Task Every_acknowledgement_follows_the_sync_of_its_record(bool onEtcd, Planted planted)
    {
        await using var scene = await WriterScene.StartAsync(
            onEtcd, Writers, Records, RecordBytes, planted == Planted.EarlyAcknowledgement);
        var expressions = planted == Planted.NoSync ? $"{Calls} inject=fdatasync,fsync:retval=0" : Calls;
        await using var tracer = await Tracer.AttachAsync(scene.Folder, expressions, scene.Processes);
        await scene.GoAsync();
        await scene.EndedAsync();
        var report = AcknowledgementOrder.Check(await tracer.CallsAsync(), scene.IsStore);

        Assert.Equal(Records, report.Acknowledged);
        if (planted == Planted.Nothing)
        {
            Assert.Empty(report.Violations);
        }
        else
        {
            // A writer that is early by chance finds some records already there.
            Assert.InRange(report.Violations.Count, Records / 2, Records);
        }
    }
}
