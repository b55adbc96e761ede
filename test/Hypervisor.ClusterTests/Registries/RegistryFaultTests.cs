using System.Globalization;
using System.Text.RegularExpressions;
using Hypervisor.ClusterTests.Streams;
using Hypervisor.Hosting.Registries;
using Hypervisor.Protocol.V1;
using Hypervisor.TestCluster;
using Xunit;

namespace Hypervisor.ClusterTests.Registries;

/// <summary>
/// Protects: over a bad way to a real registry an image arrives whole or the reason is said, without end nothing is tried, nothing is
/// left behind, and no credential is told (Converges, NoOrphans, SecretsSilent).
/// </summary>
[Trait(StoreTrait.Name, StoreTrait.Either)]
public sealed partial class RegistryFaultTests(RegistriesCluster registries) : IClassFixture<RegistriesCluster>
{
    private readonly LocalCluster _cluster = registries.Cluster;

    [Theory]
    [InlineData("password")]
    [InlineData("token")]
    public async Task A_slow_and_cut_way_shows_progress_goes_on_where_it_was_cut_and_brings_an_image_that_runs(string kind)
    {
        var way = registries.Ways[kind];
        await registries.PushAsync(kind, "team/slow:1", layers: 5);
        way.Requests.Clear();
        using var restored = Between(way, TimeSpan.FromMilliseconds(15), CutOnce());
        var image = $"{way.Name}/team/slow:1";
        await using var terminal = new PtySession(
            $"stty cols 200; nsenter --net={_cluster.NetworkNamespace} -- {LocalCluster.Binaries}/hypervisor-ctl image pull {image}; echo code $?");
        await terminal.UntilAsync("code ");
        await terminal.EndAsync();

        Assert.Contains("code 0", terminal.Text, StringComparison.Ordinal);
        var shown = Done().Matches(terminal.Text).Select(match => double.Parse(match.Groups[1].Value, CultureInfo.InvariantCulture)).Distinct().ToList();
        Assert.True(shown.Count >= 3, terminal.Text);
        Assert.Equal(shown.Order(), shown);
        Assert.True(way.MostTogether >= 2, $"{way.MostTogether} blobs at once");
        RequireResumed(way);

        // The node asks the registry itself, and is cut as well.
        way.Requests.Clear();
        way.Cut = CutOnce();
        await registries.CreateAsync(kind, image);
        var running = await _cluster.InstanceAsync(kind, "runs", instance => instance.Status.State is InstanceState.Running or InstanceState.Failed, 60);
        Assert.Equal((InstanceState.Running, ""), (running.Status.State, running.Status.Message));
        RequireResumed(way);
        // It would have been told: that much is said at this level.
        Assert.Contains($"containerd start of {running.Metadata.Uid}: ok", _cluster.Agent.Log, StringComparison.Ordinal);
        await registries.RequireSilenceAsync();
        await registries.DeleteAsync(kind);
    }

    [Fact]
    public async Task What_a_registry_that_is_down_has_runs_once_it_is_up()
    {
        await registries.CreateAsync("early", $"localhost:{RegistriesCluster.LaterPort}/early:1");
        var waiting = await _cluster.InstanceAsync("early", "says why", instance => instance.Status.Reason.StartsWith("Image", StringComparison.Ordinal));
        Assert.Equal("ImageUnavailable", waiting.Status.Reason);
        Assert.Contains($"localhost:{RegistriesCluster.LaterPort} cannot be reached", waiting.Status.Message, StringComparison.Ordinal);
        Assert.NotEqual(InstanceState.Failed, waiting.Status.State);

        await using var registry = await LocalRegistry.StartAsync(_cluster, RegistriesCluster.LaterPort);
        await registries.PushAsync(registry, "early:1", layers: 1);
        await _cluster.InstanceAsync("early", "runs", instance => instance.Status.State == InstanceState.Running, 60);
        await registries.DeleteAsync("early");
    }

    [Theory]
    [InlineData("password", "it refuses the configured credentials")]
    [InlineData("token", "its token server refuses the configured credentials")]
    public async Task A_wrong_password_is_said_to_be_wrong_and_is_not_told(string kind, string why)
    {
        var name = "wrong-" + kind;
        await registries.PushAsync(kind, "team/secret:1", layers: 1);
        var image = $"{registries.WrongWays[kind].Name}/team/secret:1";
        await registries.CreateAsync(name, image);
        var refused = await _cluster.InstanceAsync(name, "says why", instance => instance.Status.Reason.StartsWith("Image", StringComparison.Ordinal));
        Assert.Equal("ImageUnauthorized", refused.Status.Reason);
        Assert.Contains(why, refused.Status.Message, StringComparison.Ordinal);

        var (exitCode, output, error) = await registries.Ctl.TryRunAsync("image", "pull", image);
        Assert.Equal(1, exitCode);
        Assert.Contains(why, error, StringComparison.Ordinal);
        Assert.Equal("", output);

        await registries.RequireSilenceAsync();
        await registries.DeleteAsync(name);
    }

    [Theory]
    [InlineData("password")]
    [InlineData("token")]
    public async Task A_way_that_always_ends_at_the_same_byte_is_given_up_and_leaves_nothing(string kind)
    {
        var way = registries.Ways[kind];
        await registries.PushAsync(kind, "team/cut:1", layers: 2);
        var image = $"{way.Name}/team/cut:1";
        using var restored = Between(way, TimeSpan.Zero, size => size > 1_000_000 ? size * 6 / 10 : null);
        way.Requests.Clear();
        var (exitCode, _, error) = await registries.Ctl.TryRunAsync("image", "pull", image);
        Assert.Equal(3, exitCode);
        Assert.Matches($"Registry {way.Name} (ended the transfer of blob sha256:[0-9a-f]{{64}} after [0-9]+ of [0-9]+ bytes|broke the connection off)", error);
        RequireBounded(way);
        Assert.DoesNotContain(
            Directory.EnumerateFiles($"{_cluster.Folder}/server/images/blobs/sha256"), file => Path.GetFileName(file).StartsWith("tmp-", StringComparison.Ordinal));
        var images = await _cluster.Compute.ListImagesAsync(new ListImagesRequest(), deadline: LocalCluster.Deadline(5));
        Assert.DoesNotContain(images.Images, entry => entry.Metadata.Name == image);

        // A node tries as often, and then again later, until the way is good or the instance is not wanted any more.
        way.Requests.Clear();
        await registries.CreateAsync("cut-" + kind, image);
        var refused = await _cluster.InstanceAsync("cut-" + kind, "says why", instance => instance.Status.Reason.StartsWith("Image", StringComparison.Ordinal));
        Assert.Equal("ImageUnavailable", refused.Status.Reason);
        Assert.Contains(way.Name, refused.Status.Message, StringComparison.Ordinal);
        RequireBounded(way);
        await registries.DeleteAsync("cut-" + kind);
        var leftovers = new Leftovers(_cluster);
        await RealTime.UntilAsync("containerd keeps nothing of it", TimeSpan.FromSeconds(30), async () =>
            !(await leftovers.ContainerdAsync("content", "active")).Contains("hypervisor-", StringComparison.Ordinal)
            && (await leftovers.ContainerdAsync("leases", "list", "-q")).Trim().Length == 0);
    }

    /// <summary>
    /// Each blob: once from its beginning, as often as is tried without getting any further, and again by each attempt that the node's runner made
    /// until its status was seen: further and further apart, so that even on a busy machine they are few. Without a bound it would be hundreds.
    /// </summary>
    private static void RequireBounded(RegistryProxy way) => Assert.All(
        way.Requests.Where(request => request.IsBlob).GroupBy(request => request.Path),
        asked => Assert.InRange(asked.Count(), 1, 8 * (RegistryLimits.Attempts + 1)));

    /// <summary>Once for each blob that is worth it.</summary>
    private static Func<long, long?> CutOnce()
    {
        var left = 1;
        return size => size > 1_000_000 && Interlocked.Decrement(ref left) >= 0 ? size * 6 / 10 : null;
    }

    private static void RequireResumed(RegistryProxy way)
    {
        var blobs = way.Requests.Where(request => request.IsBlob && request.Path.Contains("/slow/", StringComparison.Ordinal)).ToList();
        var resumed = Assert.Single(blobs, request => request.From > 0);
        Assert.Single(blobs, request => request.Path == resumed.Path && request.From == 0);
    }

    private static Restored Between(RegistryProxy way, TimeSpan pause, Func<long, long?> cut)
    {
        (way.Pause, way.Cut) = (pause, cut);
        return new Restored(way);
    }

    [GeneratedRegex(@"fetching layers \d of 5, ([\d.]+)MiB of")]
    private static partial Regex Done();

    private sealed class Restored(RegistryProxy way) : IDisposable
    {
        public void Dispose() => (way.Pause, way.Cut) = (TimeSpan.Zero, _ => null);
    }
}
