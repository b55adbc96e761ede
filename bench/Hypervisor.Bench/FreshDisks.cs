using System.Text.Json;
using Hypervisor.TestCluster;

namespace Hypervisor.Bench;

/// <summary>The disks of a guest as they were before its first start.</summary>
internal static class FreshDisks
{
    /// <summary>Copies a guest's folder, and replaces each overlay in the copy by an empty one of the same size over the same image.</summary>
    public static async Task KeepAsync(string guestFolder, string kept)
    {
        await Shell.RunAsync("cp", "-a", "--sparse=always", guestFolder, kept);
        foreach (var overlay in Directory.EnumerateFiles(kept, "*.qcow2", SearchOption.AllDirectories))
        {
            using var description = JsonDocument.Parse(await Shell.RunAsync("qemu-img", "info", "--output=json", overlay));
            var root = description.RootElement;
            File.Delete(overlay);
            await Shell.RunAsync(
                "qemu-img", "create", "-q", "-f", "qcow2", "-F", root.GetProperty("backing-filename-format").GetString()!,
                "-b", root.GetProperty("backing-filename").GetString()!, overlay, $"{root.GetProperty("virtual-size").GetInt64()}");
        }
    }
}
