using System.Text;
using Hypervisor.Agent.Copying;
using Hypervisor.Agent.Drivers;
using Hypervisor.Hosting.Randomness;
using Hypervisor.Protocol.V1;
using Xunit;

namespace Hypervisor.Tests.Agent.Copying;

/// <summary>Protects: a copy reads and writes inside the instance's root only, whatever names and links it meets (HostConfined).</summary>
public sealed class TreeTests : IDisposable
{
    private readonly ScratchFolder _scratch = new();
    private readonly RootDirectory _root;

    public TreeTests()
    {
        Directory.CreateDirectory(_scratch["root/data/sub"]);
        Directory.CreateDirectory(_scratch["outside"]);
        File.WriteAllText(_scratch["outside/canary"], "canary");
        File.WriteAllText(_scratch["root/data/sub/file"], "content");
        File.CreateSymbolicLink(_scratch["root/absolute"], _scratch["outside"]);
        File.CreateSymbolicLink(_scratch["root/relative"], "../outside");
        File.CreateSymbolicLink(_scratch["root/up"], "../../../../../../../..");
        File.CreateSymbolicLink(_scratch["root/link"], "/data");
        File.CreateSymbolicLink(_scratch["root/data/to-outside"], _scratch["outside/canary"]);
        File.CreateSymbolicLink(_scratch["root/loop"], "loop");
        _root = RootDirectory.OfFolder(_scratch["root"]);
    }

    public void Dispose()
    {
        _root.Dispose();
        Assert.Equal("canary", File.ReadAllText(_scratch["outside/canary"]));
        Assert.Equal(["canary"], Directory.EnumerateFileSystemEntries(_scratch["outside"]).Select(path => Path.GetFileName(path)));
        _scratch.Dispose();
    }

    [Fact]
    public async Task A_folder_is_read_with_everything_below_and_links_as_links()
    {
        File.SetUnixFileMode(_scratch["root/data/sub/file"], (UnixFileMode)0x9A0);
        var entries = (await ReadAsync("/link")).Where(part => part.Entry is not null).Select(part => part.Entry).ToList();
        Assert.Equal(["Directory ", "Directory sub", "File sub/file", "Symlink to-outside"], entries.Select(entry => $"{entry.Kind} {entry.Path}").Order());
        Assert.Equal((0x9A0, 7), (entries.Single(entry => entry.Kind == FileKind.File).Mode, (int)entries.Single(entry => entry.Kind == FileKind.File).SizeBytes));
        Assert.Equal(_scratch["outside/canary"], entries.Single(entry => entry.Kind == FileKind.Symlink).LinkTarget);
    }

    [Theory]
    [InlineData("/absolute/canary")]
    [InlineData("/relative/canary")]
    [InlineData("/../outside/canary")]
    [InlineData("/data/to-outside")]
    [InlineData("/up/outside/canary")]
    [InlineData("/loop")]
    [InlineData("/data/../../outside/canary")]
    [InlineData("data")]
    [InlineData("")]
    [InlineData("/a\0b")]
    public async Task Nothing_outside_is_read(string path)
    {
        var error = await Assert.ThrowsAsync<DriverException>(() => ReadAsync(path));
        Assert.Contains(error.Reason, (string[])["PathNotFound", "PathInvalid"]);
    }

    [Fact]
    public async Task The_kernels_own_file_systems_are_refused()
    {
        using var host = RootDirectory.OfFolder("/");
        Assert.Equal("PathInvalid", Assert.Throws<DriverException>(() => host.Find("/proc/version")).Reason);
        Assert.Equal("PathInvalid", Assert.Throws<DriverException>(() => host.Find("/sys/kernel")).Reason);
        using var writer = new TreeWriter(host, "/", "proc", new SystemRandomSource());
        Assert.Equal("PathInvalid", Assert.Throws<DriverException>(() => writer.Add(new FileEntry { Path = "x", Kind = FileKind.File })).Reason);
        await Task.CompletedTask;
    }

    [Fact]
    public async Task What_is_written_is_read_back_with_owner_and_mode()
    {
        using (var writer = new TreeWriter(_root, "/data", "new", new SystemRandomSource()))
        {
            writer.Add(new FileEntry { Kind = FileKind.Directory, Mode = 0x1C0 | 0x200, UserId = 5, GroupId = 6 });
            writer.Add(new FileEntry { Path = "program", Kind = FileKind.File, Mode = 0x9ED, UserId = 1000, GroupId = 1001, SizeBytes = 3 });
            writer.Write("ab"u8);
            writer.Write("c"u8);
            writer.Add(new FileEntry { Path = "link", Kind = FileKind.Symlink, LinkTarget = "/etc/passwd", UserId = 7, GroupId = 8 });
            writer.Complete();
        }

        var parts = await ReadAsync("/data/new");
        Assert.Equal(
            [" Directory 960 5 6 ", "link Symlink 511 7 8 /etc/passwd", "program File 2541 1000 1001 "],
            parts.Where(part => part.Entry is not null).Select(part => part.Entry).Select(e => $"{e.Path} {e.Kind} {e.Mode} {e.UserId} {e.GroupId} {e.LinkTarget}"));
        Assert.Equal("abc", Encoding.UTF8.GetString(parts.Where(part => part.Entry is null).SelectMany(part => part.Data).ToArray()));
        Assert.Equal(3, Directory.EnumerateFileSystemEntries(_scratch["root/data/new"]).Count() + 1);
    }

    [Theory]
    [InlineData("../x", FileKind.File)]
    [InlineData("..", FileKind.Directory)]
    [InlineData("/x", FileKind.File)]
    [InlineData("a/../../x", FileKind.File)]
    [InlineData("a//b", FileKind.File)]
    [InlineData(".", FileKind.File)]
    [InlineData("x\0", FileKind.File)]
    [InlineData("missing/x", FileKind.File)]
    [InlineData("absolute/x", FileKind.File)]
    [InlineData("relative/x", FileKind.File)]
    [InlineData("up/x", FileKind.File)]
    [InlineData("absolute/x", FileKind.Symlink)]
    [InlineData("absolute", FileKind.Directory)]
    [InlineData("link/x", FileKind.File)]
    [InlineData("x", FileKind.Unspecified)]
    [InlineData("x", (FileKind)9)]
    public void An_entry_that_leads_elsewhere_is_refused(string path, FileKind kind)
    {
        // Written into "/" as "root2/..", whose parent is the root with its links: they are put there under the copy's own name.
        Directory.CreateDirectory(_scratch["root/copy"]);
        foreach (var link in new[] { "absolute", "relative", "up", "link" })
        {
            File.CreateSymbolicLink(_scratch["root/copy/" + link], new FileInfo(_scratch["root/" + link]).LinkTarget!);
        }

        using var writer = new TreeWriter(_root, "/", "copy", new SystemRandomSource());
        Assert.Equal("EntryInvalid", Assert.Throws<DriverException>(() => writer.Add(new FileEntry { Path = path, Kind = kind, LinkTarget = "x" })).Reason);
    }

    [Fact]
    public void A_link_made_by_the_copy_itself_is_not_written_through()
    {
        using var writer = new TreeWriter(_root, "/data", "evil", new SystemRandomSource());
        writer.Add(new FileEntry { Kind = FileKind.Directory, Mode = 0x1C0 });
        writer.Add(new FileEntry { Path = "out", Kind = FileKind.Symlink, LinkTarget = _scratch["outside"] });
        Assert.Equal("EntryInvalid", Assert.Throws<DriverException>(() => writer.Add(new FileEntry { Path = "out/x", Kind = FileKind.File })).Reason);
    }

    [Fact]
    public void A_file_replaces_a_link_and_does_not_follow_it()
    {
        using var writer = new TreeWriter(_root, "/data", "to-outside", new SystemRandomSource());
        writer.Add(new FileEntry { Kind = FileKind.File, Mode = 0x180 });
        writer.Complete();
        Assert.Null(new FileInfo(_scratch["root/data/to-outside"]).LinkTarget);
    }

    [Theory]
    [InlineData(5)]
    [InlineData(3)]
    public void Content_of_another_length_than_announced_is_refused_and_leaves_nothing(int length)
    {
        using (var writer = new TreeWriter(_root, "/data", "cut", new SystemRandomSource()))
        {
            writer.Add(new FileEntry { Kind = FileKind.File, SizeBytes = 4 });
            Assert.Throws<DriverException>(() =>
            {
                writer.Write(new byte[length]);
                writer.Complete();
            });
        }

        Assert.Equal(["sub", "to-outside"], Directory.EnumerateFileSystemEntries(_scratch["root/data"]).Select(path => Path.GetFileName(path)!).Order());
    }

    [Theory]
    [InlineData("/nowhere/else")]
    [InlineData("/data/sub/file/x")]
    [InlineData("/data/new/")]
    public void A_place_without_a_folder_is_not_found(string place) => Assert.Equal(
        "PathNotFound", Assert.Throws<DriverException>(() => new TreeWriter(_root, place, "x", new SystemRandomSource())).Reason);

    private async Task<List<CopyPart>> ReadAsync(string path)
    {
        var parts = new List<CopyPart>();
        await foreach (var part in TreeReader.ReadAsync(_root, path, TestContext.Current.CancellationToken))
        {
            parts.Add(part);
        }

        return parts;
    }
}
