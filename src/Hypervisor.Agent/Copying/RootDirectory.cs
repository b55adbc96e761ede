using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;
using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Drivers.Containerd;
using Microsoft.Win32.SafeHandles;

namespace Hypervisor.Agent.Copying;

/// <summary>The root of an instance's file system, held open: every path is resolved inside it by the kernel.</summary>
/// <remarks>
/// Neither a link nor a race leads out (openat2 with RESOLVE_IN_ROOT and RESOLVE_NO_MAGICLINKS), whatever the instance's processes do
/// meanwhile. The kernel's own file systems (/proc, /sys, control groups) are refused: the agent may do more in them than the instance.
/// </remarks>
internal sealed class RootDirectory : IDisposable
{
    private static readonly long[] KernelFileSystems = [0x9FA0, 0x62656572, 0x27E0EB, 0x63677270, 0x1CD1, 0x64626720, 0x74726163, 0xCAFE4A11];

    private readonly SafeFileHandle _root;

    private RootDirectory(SafeFileHandle root) => _root = root;

    public static RootDirectory OfFolder(string path)
    {
        const int currentFolder = -100;
        var descriptor = FileCalls.Open(currentFolder, path, FileCalls.OPath | FileCalls.ODirectory, resolve: 0);
        return new RootDirectory(new SafeFileHandle(FileCalls.Check(descriptor, $"open {path}"), ownsHandle: true));
    }

    /// <exception cref="DriverException">NotRunning.</exception>
    public static RootDirectory OfProcess(int processId)
    {
        try
        {
            return OfFolder(string.Create(CultureInfo.InvariantCulture, $"/proc/{processId}/root"));
        }
        catch (IOException gone)
        {
            throw new DriverException("NotRunning", "the process has just ended; start the instance first", permanent: false, gone);
        }
    }

    /// <summary>What is at a path, without opening it: a device or pipe is not touched.</summary>
    /// <returns>Null when there is nothing.</returns>
    /// <exception cref="DriverException">PathInvalid.</exception>
    public SafeFileHandle? Find(string path)
    {
        Check(path);
        var descriptor = FileCalls.Open(Descriptor, path, FileCalls.OPath, FileCalls.InRoot);
        if (descriptor < 0)
        {
            return Marshal.GetLastPInvokeError() is FileCalls.NoEntry or FileCalls.NotFolder ? null : throw Invalid(path, FileCalls.Failure("open").Message);
        }

        var found = new SafeFileHandle(descriptor, ownsHandle: true);
        if (IsOfKernel(found))
        {
            found.Dispose();
            throw Invalid(path, "it is in one of the kernel's own file systems");
        }

        return found;
    }

    /// <summary>A small file as text, or null when there is none, it is no regular file or too large.</summary>
    public string? ReadText(string path)
    {
        using var found = Find("/" + path);
        if (found is null || FileCalls.Status((int)found.DangerousGetHandle()) is not { Kind: FileCalls.RegularFile, Size: <= ContainerdLimits.AccountFileBytes })
        {
            return null;
        }

        // By the descriptor that was looked at: nobody can have exchanged it.
        using var handle = File.OpenHandle(PathOf(found), FileMode.Open, FileAccess.Read, FileShare.ReadWrite);
        var buffer = new byte[ContainerdLimits.AccountFileBytes];
        return Encoding.UTF8.GetString(buffer, 0, RandomAccess.Read(handle, buffer, 0));
    }

    public void Dispose() => _root.Dispose();

    /// <summary>On one of the kernel's own file systems, whose files are no data.</summary>
    internal static bool IsOfKernel(SafeFileHandle handle) => KernelFileSystems.Contains(FileCalls.FileSystemOf((int)handle.DangerousGetHandle()));

    /// <summary>The kernel's own name for an open file: opening it opens that very file again.</summary>
    internal static string PathOf(SafeFileHandle handle) =>
        string.Create(CultureInfo.InvariantCulture, $"/proc/self/fd/{(int)handle.DangerousGetHandle()}");

    internal static DriverException Invalid(string path, string why) =>
        new("PathInvalid", $"path: \"{Shown(path)}\": {why}", permanent: true);

    internal static string Shown(string path) => string.Concat(path.Take(256).Select(character => char.IsControl(character) ? '?' : character));

    private int Descriptor => (int)_root.DangerousGetHandle();

    private static void Check(string path)
    {
        if (!path.StartsWith('/') || path.Contains('\0', StringComparison.Ordinal) || Encoding.UTF8.GetByteCount(path) > Streams.StreamLimits.PathBytes)
        {
            throw Invalid(path, "an absolute path of at most 4095 bytes is needed");
        }
    }
}
