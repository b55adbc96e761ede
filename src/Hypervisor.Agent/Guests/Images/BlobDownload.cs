using System.Security.Cryptography;
using Grpc.Core;
using Hypervisor.Agent.ControlPlane;
using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Native;
using Hypervisor.Hosting.Registries;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Guests.Images;

/// <summary>
/// Brings one blob from the control plane into a file, which has its name only when it is whole, verified and durable. An
/// interrupted transfer goes on where it stopped, also after a restart.
/// </summary>
internal sealed class BlobDownload(IControlPlane controlPlane, TimeProvider time)
{
    public const string Unfinished = ".partial";

    // Backing files of guests that may run as another user.
    private const UnixFileMode ReadOnly = UnixFileMode.UserRead | UnixFileMode.GroupRead | UnixFileMode.OtherRead;

    /// <param name="size">Where it is known; 0 for a document, of which at most <see cref="DiskImageLimits.DocumentBytes"/> are taken.</param>
    /// <exception cref="DriverException">ImageNotFound, ImageInvalid, ImageUnavailable, DiskFull.</exception>
    public async Task FetchAsync(string digest, long size, string path, CancellationToken cancellationToken)
    {
        var mismatched = false;
        for (var attempt = 1; ; attempt++)
        {
            var before = LengthOf(path + Unfinished);
            try
            {
                await FetchOnceAsync(digest, size, path, cancellationToken);
                return;
            }
            catch (RpcException error) when (!cancellationToken.IsCancellationRequested)
            {
                if (error.StatusCode == StatusCode.NotFound)
                {
                    throw new DriverException("ImageNotFound", $"the control plane no longer has the blob {digest} of the image", permanent: true, error);
                }

                if (error.StatusCode == StatusCode.OutOfRange && !mismatched)
                {
                    // More lies there than the blob has.
                    File.Delete(path + Unfinished);
                    mismatched = true;
                    continue;
                }

                attempt = LengthOf(path + Unfinished) > before ? 0 : attempt;
                if (attempt >= DiskImageLimits.Attempts)
                {
                    throw new DriverException("ImageUnavailable", $"the blob {digest} could not be fetched: {error.Status.Detail}", permanent: false, error);
                }

                await Task.Delay(DiskImageLimits.Backoff * (attempt + 1), time, cancellationToken);
            }
            catch (InvalidDataException error)
            {
                // What lay there of an earlier transfer may have been damaged: once from its beginning.
                File.Delete(path + Unfinished);
                if (mismatched)
                {
                    throw new DriverException("ImageInvalid", error.Message, permanent: true, error);
                }

                mismatched = true;
            }
            catch (IOException error) when (DriverException.IsFullDisk(error))
            {
                throw DriverException.OfFullDisk(error);
            }
        }
    }

    private static long LengthOf(string path) => new FileInfo(path) is { Exists: true } file ? file.Length : 0;

    private async Task FetchOnceAsync(string digest, long size, string path, CancellationToken cancellationToken)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        await using (var file = new FileStream(path + Unfinished, new FileStreamOptions
        {
            Mode = FileMode.OpenOrCreate,
            Access = FileAccess.ReadWrite,
            BufferSize = 0,
            UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite,
        }))
        {
            await ResumeAsync(file, hash, cancellationToken);
            RequireRoom(path, size - file.Length);
            await CopyAsync(digest, size > 0 ? size : DiskImageLimits.DocumentBytes, exact: size > 0, file, hash, cancellationToken);
            if (Convert.ToHexStringLower(hash.GetHashAndReset()) is var found && found != digest[7..])
            {
                throw new InvalidDataException($"the blob {digest} has the content of sha256:{found}");
            }

            File.SetUnixFileMode(file.SafeFileHandle, ReadOnly);
            file.Flush(flushToDisk: true);
        }

        File.Move(path + Unfinished, path, overwrite: true);
        LinuxFile.SyncDirectory(Path.GetDirectoryName(path)!);
    }

    private static async Task ResumeAsync(FileStream file, IncrementalHash hash, CancellationToken cancellationToken)
    {
        var buffer = new byte[DiskImageLimits.BlockBytes];
        for (int count; (count = await file.ReadAsync(buffer, cancellationToken)) > 0;)
        {
            hash.AppendData(buffer, 0, count);
        }
    }

    /// <summary>Before the first byte: a disk that fills up in the middle of a transfer stops every guest on it.</summary>
    private static void RequireRoom(string path, long bytes)
    {
        if (bytes > 0 && new DriveInfo(Path.GetDirectoryName(path)!).AvailableFreeSpace is var free && free < bytes)
        {
            throw DriverException.OfFullDisk(new IOException($"{bytes} bytes are to be written, {free} are free"));
        }
    }

    private async Task CopyAsync(string digest, long most, bool exact, FileStream file, IncrementalHash hash, CancellationToken cancellationToken)
    {
        using var stalled = new Deadline(DiskImageLimits.Stall, time, cancellationToken);
        var position = file.Length;
        long? total = null;
        try
        {
            var request = new FetchBlobRequest { Digest = digest, Offset = position };
            await foreach (var part in controlPlane.FetchBlobAsync(request, stalled.Token).WithCancellation(stalled.Token))
            {
                stalled.Set(DiskImageLimits.Stall);
                total ??= part.TotalBytes;
                if (exact ? total != most : total > most)
                {
                    throw new InvalidDataException($"the blob {digest} has {total} bytes where {most} are {(exact ? "expected" : "the most that is taken")}");
                }

                if (part.Data.Length > total - position)
                {
                    throw new InvalidDataException($"the blob {digest} is longer than the {total} bytes announced");
                }

                Append(file, position, part.Data.Span);
                hash.AppendData(part.Data.Span);
                position += part.Data.Length;
            }
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            throw new RpcException(new Status(StatusCode.DeadlineExceeded, "the transfer stalled"));
        }
        finally
        {
            // A hole at the end of what came is part of it.
            file.SetLength(position);
        }

        if (position < total || total is null)
        {
            throw new RpcException(new Status(StatusCode.Unavailable, $"the transfer ended after {position} of {total ?? most} bytes"));
        }
    }

    /// <summary>Zeros become a hole: disk images consist of little else.</summary>
    private static void Append(FileStream file, long position, ReadOnlySpan<byte> data)
    {
        if (data.ContainsAnyExcept((byte)0))
        {
            RandomAccess.Write(file.SafeFileHandle, data, position);
        }
    }
}
