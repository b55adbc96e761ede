using System.Globalization;
using Hypervisor.Agent.Guests.Disks;
using Hypervisor.Agent.Images;
using Hypervisor.TestCluster;

namespace Hypervisor.ClusterTests.Guests.Disks;

/// <summary>One folder as every image's files.</summary>
internal sealed class FolderTrees(string folder) : IImageTrees
{
    public static ImageDefaults Defaults { get; } = new(["/entry"], ["arg"], ["A=b"], "app", "/work", "SIGTERM");

    /// <summary>How often an image was opened.</summary>
    public int Opened { get; private set; }

    /// <summary>Trees that are not disposed of.</summary>
    public int Open { get; private set; }

    /// <summary>Instead of what the folder takes.</summary>
    public long? Bytes { get; set; }

    /// <summary>The next build waits for it.</summary>
    public Task Gate { get; set; } = Task.CompletedTask;

    public async Task<IImageTree> OpenAsync(string digest, CancellationToken cancellationToken)
    {
        Opened++;
        await Gate.WaitAsync(cancellationToken);
        var bytes = Bytes ?? long.Parse((await Shell.RunAsync("du", "-s", "--block-size=1", folder)).Split('\t')[0], CultureInfo.InvariantCulture);
        var inodes = (await Shell.RunAsync("find", folder, "-printf", ".")).Length;
        Open++;
        return new Tree(this, folder, bytes, inodes);
    }

    private sealed class Tree(FolderTrees trees, string folder, long bytes, long inodes) : IImageTree
    {
        public string Path => folder;

        public long Bytes => bytes;

        public long Inodes => inodes;

        public ImageDefaults Defaults => FolderTrees.Defaults;

        public ValueTask DisposeAsync()
        {
            trees.Open--;
            return default;
        }
    }
}
