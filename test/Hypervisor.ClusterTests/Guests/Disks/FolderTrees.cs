using Hypervisor.Agent.Guests.Disks;
using Hypervisor.Agent.Images;

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
        Open++;
        return new Tree(this, folder);
    }

    private sealed class Tree(FolderTrees trees, string folder) : IImageTree
    {
        public string Path => folder;

        public long Bytes => trees.Bytes ?? Directory.EnumerateFiles(folder, "*", SearchOption.AllDirectories).Sum(DiskFiles.Allocated);

        public long Inodes => Directory.EnumerateFileSystemEntries(folder, "*", SearchOption.AllDirectories).Count();

        public ImageDefaults Defaults => FolderTrees.Defaults;

        public ValueTask DisposeAsync()
        {
            trees.Open--;
            return default;
        }
    }
}
