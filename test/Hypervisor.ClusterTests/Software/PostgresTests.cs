using Hypervisor.Protocol.V1;
using Hypervisor.TestCluster;
using Xunit;

namespace Hypervisor.ClusterTests.Software;

/// <summary>
/// Protects, with Debian's PostgreSQL: what the page of examples says, and that a database keeps what it acknowledged when it is killed
/// and started again by its policy, and shuts down cleanly when it is stopped.
/// </summary>
[Collection(SoftwareCluster.Name)]
[Trait(StoreTrait.Name, StoreTrait.Either)]
public sealed class PostgresTests(SoftwareCluster software)
{
    private LocalCluster Cluster => software.Cluster;

    [Fact]
    public async Task A_database_is_queried_killed_recovered_and_shut_down_cleanly()
    {
        await software.BeginAsync();
        await software.Examples.TypeAsync("PostgreSQL", before: "bin/hypervisor-ctl instance stop");
        await Cluster.InstanceAsync("db", "is healthy", instance =>
            instance.Status.Conditions.Any(condition => condition.Type == "Healthy" && condition.Status == ConditionStatus.True));

        await software.KillMainProcessAsync("db");
        await AcceptsAsync();
        Assert.Equal("42\n", await QueryAsync("select n from answers"));
        Assert.Contains("was not properly shut down", await LogAsync(), StringComparison.Ordinal);

        // A client is connected: the image's SIGINT ends its session, where SIGTERM would wait for it to go.
        await using var client = software.Ctl.Start("instance", "exec", "-i", "db", "--", "psql");
        client.Type("select 'connec' || 'ted';\n");
        await client.UntilAsync("connected");
        await software.Examples.TypeRestAsync("PostgreSQL", from: "bin/hypervisor-ctl instance stop");
        Assert.NotEqual(0, await client.EndAsync());
        Assert.Empty(await new Leftovers(Cluster).ListAsync());
    }

    private Task AcceptsAsync() => RealTime.UntilAsync("the database accepts connections", TimeSpan.FromSeconds(60), async () =>
        (await software.Ctl.TryRunAsync("instance", "exec", "db", "--", "pg_isready", "-q", "-h", "127.0.0.1")).ExitCode == 0);

    private Task<string> QueryAsync(string query) => software.Ctl.RunAsync("instance", "exec", "db", "--", "psql", "-tAc", query);

    private Task<string> LogAsync() => software.Ctl.RunAsync("instance", "logs", "db");
}
