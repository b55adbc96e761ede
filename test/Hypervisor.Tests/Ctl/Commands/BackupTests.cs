using System.Security.Cryptography;
using Xunit;

namespace Hypervisor.Tests.Ctl.Commands;

/// <summary>Protects: a file under the backup's name is a whole backup, and never replaces another one.</summary>
public sealed class BackupTests : IDisposable
{
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("ctl-backup-");

    private string Target => Path.Combine(_folder.FullName, "b");

    public void Dispose() => _folder.Delete(recursive: true);

    [Theory]
    [InlineData(1)]
    [InlineData(7)]
    [InlineData(4096)]
    public async Task What_the_server_sends_is_written_and_readable_by_the_owner_only(int chunk)
    {
        var file = Sealed([.. Enumerable.Range(0, 5000).Select(value => (byte)value)]);
        using var run = new CtlRun();
        await using var server = await FakeServer.StartAsync();
        server.Cluster.BackupChunks = [.. file.Chunk(chunk)];

        Assert.Equal(0, await run.RunAsync(server, "cluster", "backup", Target));

        Assert.Equal(file, await File.ReadAllBytesAsync(Target, TestContext.Current.CancellationToken));
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(Target));
        Assert.Single(_folder.GetFiles());
    }

    [Fact]
    public async Task What_did_not_arrive_whole_is_not_kept()
    {
        using var run = new CtlRun();
        await using var server = await FakeServer.StartAsync();
        server.Cluster.BackupChunks = [Sealed(new byte[100])[..^1]];

        Assert.Equal(1, await run.RunAsync(server, "cluster", "backup", Target));

        Assert.Contains("did not arrive", run.Error, StringComparison.Ordinal);
        Assert.Empty(_folder.GetFiles());
    }

    [Fact]
    public async Task A_file_that_exists_is_left_as_it_is()
    {
        await File.WriteAllTextAsync(Target, "older", TestContext.Current.CancellationToken);
        using var run = new CtlRun();

        Assert.Equal(2, await run.RunAsync(null, "cluster", "backup", Target));

        Assert.Contains("exists already", run.Error, StringComparison.Ordinal);
        Assert.Equal("older", await File.ReadAllTextAsync(Target, TestContext.Current.CancellationToken));
    }

    private static byte[] Sealed(byte[] content) => [.. content, .. SHA256.HashData(content)];
}
