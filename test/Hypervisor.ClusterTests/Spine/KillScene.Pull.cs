using Grpc.Core;
using Hypervisor.Protocol.V1;
using Hypervisor.TestCluster;
using Xunit;
using Victim = Hypervisor.ClusterTests.Spine.KillMatrix.Victim;

namespace Hypervisor.ClusterTests.Spine;

/// <content>An image that is being downloaded, by the node for an instance and by the server for a client, while the victim is killed.</content>
public sealed partial class KillScene
{
    private async Task PullLifeAsync(string name, KillPoint point)
    {
        var image = _registry!.AddImage(name);
        Task<bool> pulling = Task.FromResult(false);
        await WithKillAsync(
            () =>
            {
                pulling = PullAsync(image);
                return CreateAsync(name, name, 9001, image: image);
            },
            point);
        await pulling.WaitAsync(TimeSpan.FromSeconds(30), RealTime.Clock);

        // Whatever became of the first, the client's next attempt brings all of it.
        await RealTime.UntilAsync("the image is pulled", TimeSpan.FromSeconds(45), () => PullAsync(image));
        await _cluster.InstanceAsync(name, "is not waiting for its image", instance => instance.Status.State is InstanceState.Running or InstanceState.Failed, 60);
        Assert.Equal(0, (await _cluster.Compute.GetInstanceAsync(new GetInstanceRequest { Instance = name }, deadline: LocalCluster.Deadline(5))).Status.Restarts);
        Assert.InRange(new Leftovers(_cluster).InstanceProcesses().Count, 1, _victim == Victim.SharedShim ? 3 : 2);
        Assert.DoesNotContain(
            Directory.EnumerateFiles($"{_cluster.Folder}/server/images", "*", SearchOption.AllDirectories),
            file => Path.GetFileName(file).StartsWith("tmp-", StringComparison.Ordinal));
    }

    /// <returns>Whether all of it is at the server now; otherwise the server was gone in the middle, and said so.</returns>
    private async Task<bool> PullAsync(string image)
    {
        try
        {
            using var call = _cluster.Compute.PullImage(new PullImageRequest { Image = image }, deadline: LocalCluster.Deadline(25));
            PullImageResponse? last = null;
            await foreach (var report in call.ResponseStream.ReadAllAsync())
            {
                last = report;
            }

            return last is { Image.Stored: true };
        }
        catch (RpcException exception) when (exception.StatusCode is StatusCode.Unavailable or StatusCode.Cancelled or StatusCode.Aborted)
        {
            return false;
        }
    }
}
