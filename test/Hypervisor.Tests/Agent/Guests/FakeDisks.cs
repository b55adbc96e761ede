namespace Hypervisor.Tests.Agent.Guests;

/// <summary>One disk of a guest as text files: as a real one's, another file is written to after each snapshot and each restore.</summary>
internal static class FakeDisks
{
    public static string ActiveOf(string folder) => Path.Combine(folder, File.Exists(Path.Combine(folder, "active")) ? File.ReadAllText(Path.Combine(folder, "active")) : "root.disk");

    public static IReadOnlyList<string> SnapshotsOf(string folder) =>
        [.. Directory.EnumerateFiles(folder, "frozen-*").Select(path => Path.GetFileName(path)!["frozen-".Length..]).Order(StringComparer.Ordinal)];

    public static void Snapshot(string folder, string snapshot)
    {
        if (!File.Exists(Frozen(folder, snapshot)))
        {
            File.Copy(ActiveOf(folder), Frozen(folder, snapshot));
            GoOn(folder, Frozen(folder, snapshot));
        }
    }

    public static void Delete(string folder, string snapshot) => File.Delete(Frozen(folder, snapshot));

    public static void Restore(string folder, string snapshot) => GoOn(folder, Frozen(folder, snapshot));

    public static void Clone(string source, string snapshot, string folder) =>
        File.Copy(snapshot.Length > 0 ? Frozen(source, snapshot) : ActiveOf(source), Path.Combine(folder, "root.disk"), overwrite: true);

    public static void Remove(string folder)
    {
        foreach (var path in Directory.EnumerateFiles(folder, "*.disk").Concat(Directory.EnumerateFiles(folder, "frozen-*")).ToList())
        {
            File.Delete(path);
        }

        File.Delete(Path.Combine(folder, "active"));
    }

    private static string Frozen(string folder, string snapshot) => Path.Combine(folder, "frozen-" + snapshot);

    private static void GoOn(string folder, string from)
    {
        var next = $"root-{Directory.EnumerateFiles(folder, "root*.disk").Count()}.disk";
        File.Copy(from, Path.Combine(folder, next));
        File.WriteAllText(Path.Combine(folder, "active"), next);
    }
}
