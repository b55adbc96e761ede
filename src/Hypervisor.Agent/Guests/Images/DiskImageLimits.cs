namespace Hypervisor.Agent.Guests.Images;

/// <summary>Bounds of the store of disk images.</summary>
internal static class DiskImageLimits
{
    /// <summary>Manifests and configurations are some hundred bytes.</summary>
    public const int DocumentBytes = 64 * 1024;

    /// <summary>Calls without any progress before the runner's own back-off takes over.</summary>
    public const int Attempts = 5;

    /// <summary>One read when what is there of an interrupted transfer is hashed again.</summary>
    public const int BlockBytes = 256 * 1024;

    public static readonly TimeSpan Backoff = TimeSpan.FromMilliseconds(200);

    /// <summary>A FetchBlob stream that delivers nothing for so long is dead.</summary>
    public static readonly TimeSpan Stall = TimeSpan.FromSeconds(30);

    /// <summary>An interrupted transfer that nobody went on with, and a file that no image names, are removed at the next start after so long.</summary>
    public static readonly TimeSpan Leftover = TimeSpan.FromDays(1);
}
