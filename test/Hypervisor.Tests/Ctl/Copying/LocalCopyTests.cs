using Hypervisor.Ctl.Copying;
using Hypervisor.Ctl.Errors;
using Hypervisor.Protocol.V1;
using Xunit;

namespace Hypervisor.Tests.Ctl.Copying;

/// <summary>Protects: what comes out of an instance never leaves the place it was asked for.</summary>
public sealed class LocalCopyTests : IDisposable
{
    private readonly ScratchFolder _scratch = new();

    public LocalCopyTests()
    {
        Directory.CreateDirectory(_scratch["here"]);
        Directory.CreateDirectory(_scratch["outside"]);
    }

    public void Dispose()
    {
        Assert.Empty(Directory.EnumerateFileSystemEntries(_scratch["outside"]));
        _scratch.Dispose();
    }

    [Theory]
    [InlineData("../x")]
    [InlineData("/x")]
    [InlineData("a/b")]
    [InlineData("..")]
    [InlineData(".")]
    [InlineData("a//b")]
    [InlineData("x\0")]
    public void An_entry_that_leads_elsewhere_is_refused(string path)
    {
        using var writer = Begun();
        Assert.Throws<CtlException>(() => writer.Add(new FileEntry { Path = path, Kind = FileKind.File }));
    }

    [Fact]
    public void A_link_that_came_with_the_copy_is_not_written_through()
    {
        using var writer = Begun();
        writer.Add(new FileEntry { Path = "out", Kind = FileKind.Symlink, LinkTarget = _scratch["outside"] });
        Assert.Throws<CtlException>(() => writer.Add(new FileEntry { Path = "out/x", Kind = FileKind.File }));
        Assert.Throws<CtlException>(() => writer.Add(new FileEntry { Path = "out", Kind = FileKind.Directory }));
    }

    [Fact]
    public void A_folder_cannot_become_a_link_under_what_follows()
    {
        using var writer = Begun();
        writer.Add(new FileEntry { Path = "a", Kind = FileKind.Directory, Mode = 0x1ED });
        Assert.Throws<CtlException>(() => writer.Add(new FileEntry { Path = "a", Kind = FileKind.Symlink, LinkTarget = _scratch["outside"] }));
    }

    [Fact]
    public void A_link_that_was_there_is_not_written_through()
    {
        Directory.CreateDirectory(_scratch["here/copy"]);
        File.CreateSymbolicLink(_scratch["here/copy/sub"], _scratch["outside"]);
        using var writer = Begun();
        Assert.Throws<CtlException>(() => writer.Add(new FileEntry { Path = "sub", Kind = FileKind.Directory }));
    }

    [Theory]
    [InlineData("..")]
    [InlineData("a/b")]
    [InlineData("")]
    public void A_hostile_name_is_refused(string name) => Assert.Throws<CtlException>(() => new LocalWriter(_scratch["here"], name));

    [Fact]
    public void A_tree_is_sent_and_written_as_it_was()
    {
        Directory.CreateDirectory(_scratch["from/sub"]);
        File.WriteAllText(_scratch["from/sub/file"], "content");
        File.SetUnixFileMode(_scratch["from/sub/file"], (UnixFileMode)0x1E8);
        File.CreateSymbolicLink(_scratch["from/link"], "sub/file");
        using (var writer = new LocalWriter(_scratch["here"], "copy"))
        {
            foreach (var request in LocalReader.Read(_scratch["from"]))
            {
                if (request.Entry is { } entry)
                {
                    writer.Add(entry);
                }
                else
                {
                    writer.Write(request.Data.Span);
                }
            }

            writer.Complete();
        }

        Assert.Equal("content", File.ReadAllText(_scratch["here/copy/sub/file"]));
        Assert.Equal((UnixFileMode)0x1E8, File.GetUnixFileMode(_scratch["here/copy/sub/file"]));
        Assert.Equal("sub/file", new FileInfo(_scratch["here/copy/link"]).LinkTarget);
    }

    private LocalWriter Begun()
    {
        var writer = new LocalWriter(_scratch["here"], "copy");
        writer.Add(new FileEntry { Kind = FileKind.Directory, Mode = 0x1ED });
        return writer;
    }
}
