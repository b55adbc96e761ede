using System.Text;
using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Guests.Disks;

namespace Hypervisor.Agent.Guests.Seeds;

/// <summary>A seed as the read-only volume "cidata" (ISO 9660 with Joliet and Rock Ridge), which cloud-init looks for. The same seed gives the same bytes.</summary>
internal sealed class SeedVolume(DiskTool tool)
{
    public const string Failed = "SeedFailed";

    private const string Label = "cidata";

    /// <summary>Replaced as a whole.</summary>
    /// <param name="path">Of the volume, in a folder of the instance alone.</param>
    /// <exception cref="DriverException">DiskFull, SeedFailed, ToolMissing, ToolTimedOut.</exception>
    public async Task WriteAsync(string path, Seed seed, CancellationToken cancellationToken)
    {
        var (folder, unfinished) = (path + ".files", path + ".new");
        Clear(folder, unfinished);
        try
        {
            Directory.CreateDirectory(folder, DiskFiles.OwnerOnly | UnixFileMode.UserExecute);
            (string Name, string Content)[] files = [("meta-data", seed.MetaData), ("user-data", seed.UserData), ("network-config", seed.NetworkConfig)];
            foreach (var (name, content) in files)
            {
                // They may hold password hashes and keys.
                using var file = new FileStream(Path.Combine(folder, name), new FileStreamOptions
                {
                    Mode = FileMode.CreateNew,
                    Access = FileAccess.Write,
                    UnixCreateMode = DiskFiles.OwnerOnly,
                });
                file.Write(Encoding.UTF8.GetBytes(content));
                file.Close();
                File.SetLastWriteTimeUtc(Path.Combine(folder, name), DateTime.UnixEpoch);
            }

            await RunAsync(
                ["-no_rc", "-as", "mkisofs", "-quiet", "-V", Label, "-J", "-r", "-o", unfinished, .. files.Select(file => Path.Combine(folder, file.Name))],
                cancellationToken);
            File.SetUnixFileMode(unfinished, DiskFiles.OwnerOnly);
            DiskFiles.Sync(unfinished);
            File.Move(unfinished, path, overwrite: true);
            Native.LinuxFile.SyncDirectory(Path.GetDirectoryName(path)!);
        }
        catch (IOException error) when (DriverException.IsFullDisk(error))
        {
            throw DriverException.OfFullDisk(error);
        }
        finally
        {
            Clear(folder, unfinished);
        }
    }

    private async Task RunAsync(string[] arguments, CancellationToken cancellationToken)
    {
        var result = await tool.RunAsync(
            new ToolCall("xorriso", "xorriso", arguments)
            {
                MemoryBytes = DiskLimits.MakeMemoryBytes,
                Cpu = DiskLimits.ImageCpu,
                Deadline = DiskLimits.ImageCall,
                // Every time in the volume.
                Environment = new Dictionary<string, string> { ["SOURCE_DATE_EPOCH"] = "0" },
            },
            cancellationToken);
        if (result.IsFullDisk)
        {
            throw DriverException.OfFullDisk(new IOException(result.Complaint));
        }

        if (result.ExitCode != 0)
        {
            throw new DriverException(Failed, $"the cloud-init seed could not be made: xorriso: {result.Complaint}", permanent: false);
        }
    }

    private static void Clear(string folder, string unfinished)
    {
        if (Directory.Exists(folder))
        {
            Directory.Delete(folder, recursive: true);
        }

        File.Delete(unfinished);
    }
}
