using Hypervisor.Agent.Drivers.Libvirt.Interop;
using Hypervisor.Agent.Native;
using Hypervisor.Protocol;

namespace Hypervisor.Agent.Drivers.Libvirt;

internal sealed partial class LibvirtVmm
{
    private const uint SaveRunning = 2;
    private const uint SavePaused = 4;

    /// <summary>NO_METADATA: libvirtd is to remember nothing of it.</summary>
    private const uint SnapshotForgotten = 4;

    /// <summary>As the memory of an external snapshot without disks: unlike virDomainSave it leaves the machine as it is.</summary>
    public async Task SaveAsync(InstanceId id, string path, CancellationToken cancellationToken)
    {
        var temporary = path + WholeFile.TemporarySuffix;
        File.Delete(temporary);
        try
        {
            await connection.TransferAsync(
                handle =>
                {
                    using var domain = LibvirtDomains.Lookup(handle, id.Value) ?? throw NotRunning(id);
                    var snapshot = NativeMethods.DomainSnapshot(domain, DomainXml.RenderSave(temporary, LibvirtDomains.Targets(domain)), SnapshotForgotten);
                    return snapshot == 0 ? throw LibvirtException.OfThisThread() : NativeMethods.DomainSnapshotFree(snapshot);
                },
                cancellationToken);
            File.SetUnixFileMode(temporary, UnixFileMode.UserRead | UnixFileMode.UserWrite);
            using (var file = File.OpenHandle(temporary, access: FileAccess.ReadWrite))
            {
                RandomAccess.FlushToDisk(file);
            }

            File.Move(temporary, path, overwrite: true);
            LinuxFile.SyncDirectory(Path.GetDirectoryName(path)!);
        }
        catch (LibvirtException refusal)
        {
            File.Delete(temporary);
            throw refusal.NoDomain || refusal.NotRunning ? NotRunning(id) : Failed("write the guest's memory", refusal);
        }
        catch
        {
            File.Delete(temporary);
            throw;
        }
    }

    /// <summary>With the machine's present definition: the one that was saved with the memory is of an earlier epoch.</summary>
    private static int Restore(ConnectionHandle handle, string xml, string memory, bool stayPaused)
    {
        using var domain = Checked(NativeMethods.DomainDefine(handle, xml, DefineValidate));
        return Checked(NativeMethods.DomainRestore(handle, memory, xml, stayPaused ? SavePaused : SaveRunning));
    }
}
