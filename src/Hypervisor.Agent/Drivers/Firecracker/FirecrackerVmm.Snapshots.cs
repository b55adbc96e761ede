using Hypervisor.Agent.Drivers.Firecracker.Api;
using Hypervisor.Agent.Native;
using Hypervisor.Protocol;
using Microsoft.Win32.SafeHandles;

namespace Hypervisor.Agent.Drivers.Firecracker;

internal sealed partial class FirecrackerVmm
{
    private const string UnfinishedSuffix = ".part";

    public Task SaveAsync(InstanceId id, string path, CancellationToken cancellationToken) =>
        SaveAsync(id, path, earlier: null, cancellationToken);

    /// <summary>
    /// As <see cref="SaveAsync(InstanceId, string, CancellationToken)"/>, of what was written since the last snapshot only, over a copy of it: the new file is
    /// whole in itself. Needs <see cref="FirecrackerOptions.TrackDirtyPages"/>, and that <paramref name="earlier"/> is that last snapshot.
    /// </summary>
    public Task SaveChangesAsync(InstanceId id, string earlier, string path, CancellationToken cancellationToken) =>
        SaveAsync(id, path, earlier, cancellationToken);

    private async Task SaveAsync(InstanceId id, string path, string? earlier, CancellationToken cancellationToken)
    {
        var record = Running(id);
        using var root = GuestRoot.Open(record.Root) ?? throw NotRunning(id);
        var unfinished = path + UnfinishedSuffix;
        try
        {
            // Outside a jail the working folder is in memory, which is no place for memory.
            var memory = record.User is null ? unfinished : GuestFiles.SavedMemory;
            if (earlier is not null)
            {
                Copy(earlier, unfinished);
                if (record.User is { } user)
                {
                    root.Bring(unfinished, memory, user);
                }
            }

            using (var client = Client(root))
            {
                var body = new SnapshotCreateBody(GuestFiles.SavedState, memory, earlier is null ? SnapshotCreateBody.Full : SnapshotCreateBody.Diff);
                await client.CreateSnapshotAsync(body, FirecrackerLimits.Save(record.MemoryBytes), cancellationToken);
            }

            using (var saved = record.User is null ? File.OpenHandle(unfinished, access: FileAccess.ReadWrite) : root.OpenFile(memory))
            using (var state = root.OpenFile(GuestFiles.SavedState))
            {
                SnapshotFile.Append(saved ?? throw Missing(), state ?? throw Missing());
                if (record.User is not null && earlier is null)
                {
                    TakeOut(saved, unfinished);
                }
            }

            File.Move(unfinished, path, overwrite: true);
            LinuxFile.SyncDirectory(Path.GetDirectoryName(path)!);
        }
        catch (IOException error)
        {
            throw DriverException.IsFullDisk(error)
                ? DriverException.OfFullDisk(error)
                : new DriverException("SnapshotFailed", $"the microVM's memory cannot be saved: {error.Message}", permanent: false, error);
        }
        finally
        {
            root.Delete(GuestFiles.SavedMemory);
            root.Delete(GuestFiles.SavedState);
            File.Delete(unfinished);
        }

        static IOException Missing() => new("firecracker said that it had written it, and did not");
    }

    /// <summary>Gives what a jail's file holds to us: its name is made anew by its descriptor, so that no link is followed.</summary>
    private static void TakeOut(SafeFileHandle saved, string destination)
    {
        using var folder = GuestRoot.OpenOwnFolder(Path.GetDirectoryName(destination)!);
        Copying.FileCalls.Check(Copying.FileCalls.ChangeOwner((int)saved.DangerousGetHandle(), 0, 0), "chown");
        if (Copying.FileCalls.GiveName((int)saved.DangerousGetHandle(), (int)folder.DangerousGetHandle(), Path.GetFileName(destination)) >= 0)
        {
            return;
        }

        if (System.Runtime.InteropServices.Marshal.GetLastPInvokeError() != Copying.FileCalls.CrossLink)
        {
            throw Copying.FileCalls.Failure($"link {destination}");
        }

        File.Copy(Copying.RootDirectory.PathOf(saved), destination);
        using var copy = File.OpenHandle(destination, access: FileAccess.ReadWrite);
        RandomAccess.FlushToDisk(copy);
    }

    private static void Copy(string earlier, string unfinished)
    {
        File.Copy(earlier, unfinished, overwrite: true);
        using var copy = File.OpenHandle(unfinished, access: FileAccess.ReadWrite);
        SnapshotFile.CutToMemory(copy);
    }
}
