using System.CommandLine;
using System.Security.Cryptography;
using Grpc.Core;
using Hypervisor.Ctl.Completion;
using Hypervisor.Ctl.Connection;
using Hypervisor.Ctl.Errors;
using Hypervisor.Ctl.Output;

namespace Hypervisor.Ctl.Commands.Clusters;

/// <summary>The file appears under its name only once it is whole and on the disk. It holds the nodes' credentials: mode 0600.</summary>
internal sealed class BackupCommand : CtlCommand
{
    private readonly Argument<string> _file = new("file") { Description = "The file to write; must not exist yet" };

    public override NameKind Completes => NameKind.Files;

    public override void Declare(Command command) => command.Add(_file);

    public override async Task<int> RunAsync(Invocation invocation, CancellationToken cancellationToken)
    {
        invocation.Streaming = true;
        var path = invocation.Get(_file)!;
        var partial = $"{path}.{invocation.NewRequestId()}.partial";
        if (File.Exists(path))
        {
            throw CtlException.Usage($"{path} exists already.", "A backup is never overwritten; name another file.");
        }

        try
        {
            var bytes = await WriteAsync(invocation, partial, cancellationToken);
            File.Move(partial, path, overwrite: false);
            invocation.Environment.Out.WriteLine($"{path} written ({Readable.Bytes(bytes)})");
            return ExitCode.Done;
        }
        catch (RpcException exception) when (ServerConnection.IsAway(exception))
        {
            throw invocation.Connection.Unreachable(exception);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw CtlException.Usage($"{path} cannot be written: {exception.Message}");
        }
        finally
        {
            File.Delete(partial);
        }
    }

    private static async Task<long> WriteAsync(Invocation invocation, string path, CancellationToken cancellationToken)
    {
        using var call = invocation.Cluster.BackupCluster(new(), cancellationToken: cancellationToken);
        await using var file = new FileStream(path, new FileStreamOptions
        {
            Mode = FileMode.CreateNew,
            Access = FileAccess.Write,
            UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite,
        });

        // The last bytes are the SHA-256 of all others: what arrived is what the server wrote, or it is no backup.
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        var tail = Array.Empty<byte>();
        await foreach (var response in call.ResponseStream.ReadAllAsync(cancellationToken))
        {
            await file.WriteAsync(response.Chunk.Memory, cancellationToken);
            byte[] held = [.. tail, .. response.Chunk.Span];
            var certain = Math.Max(0, held.Length - SHA256.HashSizeInBytes);
            hash.AppendData(held, 0, certain);
            tail = held[certain..];
        }

        if (!hash.GetHashAndReset().AsSpan().SequenceEqual(tail))
        {
            throw new CtlException(ExitCode.Refused, "The backup did not arrive as the server wrote it.", "Run the command again.");
        }

        file.Flush(flushToDisk: true);
        return file.Length;
    }
}
