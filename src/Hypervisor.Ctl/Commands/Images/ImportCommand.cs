using System.CommandLine;
using Google.Protobuf;
using Grpc.Core;
using Hypervisor.Ctl.Completion;
using Hypervisor.Ctl.Connection;
using Hypervisor.Ctl.Errors;
using Hypervisor.Ctl.Output;
using Hypervisor.Ctl.Specs;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Ctl.Commands.Images;

internal sealed class ImportCommand : CtlCommand
{
    private readonly ImportFlags _flags = new();
    private readonly Option<OutputFormat> _output = CommonOptions.Output();

    public override NameKind Completes => NameKind.Files;

    public override void Declare(Command command)
    {
        _flags.Declare(command);
        command.Add(_output);
    }

    public override async Task<int> RunAsync(Invocation invocation, CancellationToken cancellationToken)
    {
        invocation.Streaming = true;
        var header = _flags.Header(invocation);
        var image = _flags.Source(invocation) switch
        {
            null => await UploadSetAsync(invocation, header, cancellationToken),
            var url when url.Contains("://", StringComparison.Ordinal) => await FetchAsync(invocation, header, url, cancellationToken),
            var path => await UploadFileAsync(invocation, header, path, cancellationToken),
        };
        ImageResult.Write(invocation.Printer(_output), image, "imported");
        return ExitCode.Done;
    }

    private static async Task<Image> FetchAsync(Invocation invocation, ImportImageHeader header, string url, CancellationToken cancellationToken)
    {
        var progress = new ProgressLine(invocation.Environment);
        Image? image = null;
        using var call = invocation.Compute.ImportImageFromUrl(new() { Url = url, Image = header }, cancellationToken: cancellationToken);
        try
        {
            await OneStream.ReadAsync(invocation, call.ResponseStream, message =>
            {
                image = message.Image ?? image;
                progress.Show(message.BytesDone == 0 ? message.Status : Describe(message.Status, message.BytesDone, message.BytesTotal));
            }, cancellationToken);
        }
        finally
        {
            progress.Clear();
        }

        return image ?? throw new CtlException(ExitCode.Refused, "The server ended the import without an image.");
    }

    private static async Task<Image> UploadFileAsync(Invocation invocation, ImportImageHeader header, string path, CancellationToken cancellationToken)
    {
        await using var input = path == "-" ? invocation.Environment.OpenInput() : InputFile.Open(path);
        header.SizeBytes = path != "-" && input.CanSeek ? input.Length : 0;
        long? total = input.CanSeek ? input.Length : null;
        return await UploadAsync(invocation, header, [input], sent => Describe(path, sent, total ?? 0), cancellationToken);
    }

    private async Task<Image> UploadSetAsync(Invocation invocation, ImportImageHeader header, CancellationToken cancellationToken)
    {
        var files = _flags.KernelSet(invocation);
        try
        {
            header.Files.AddRange(files.Select(file => new ImportImageFile { Role = file.Role, SizeBytes = file.File.Length }));
            header.SizeBytes = header.Files.Sum(file => file.SizeBytes);
            return await UploadAsync(
                invocation, header, [.. files.Select(file => file.File)], sent => Describe("kernel set", sent, header.SizeBytes), cancellationToken);
        }
        finally
        {
            foreach (var (_, file) in files)
            {
                await file.DisposeAsync();
            }
        }
    }

    private static async Task<Image> UploadAsync(
        Invocation invocation, ImportImageHeader header, IReadOnlyList<Stream> inputs, Func<long, string> describe, CancellationToken cancellationToken)
    {
        var progress = new ProgressLine(invocation.Environment);
        using var call = invocation.Compute.ImportImage(cancellationToken: cancellationToken);
        try
        {
            await SendAsync(call.RequestStream, header, inputs, sent => progress.Show(describe(sent)), cancellationToken);
            return await call.ResponseAsync;
        }
        catch (RpcException exception) when (ServerConnection.IsAway(exception))
        {
            progress.Clear();
            throw invocation.Connection.Unreachable(exception);
        }
        finally
        {
            progress.Clear();
        }
    }

    private static string Describe(string what, long sent, long total) => total > 0
        ? $"{what}: {Readable.Bytes(sent)} of {Readable.Bytes(total)} ({sent * 100 / total} %)"
        : $"{what}: {Readable.Bytes(sent)}";

    private static Task SendAsync(
        IClientStreamWriter<ImportImageRequest> requests, ImportImageHeader header, IReadOnlyList<Stream> inputs, Action<long> report,
        CancellationToken cancellationToken) =>
        OneStream.WriteAsync(async () =>
        {
            await requests.WriteAsync(new() { Header = header }, cancellationToken);
            var buffer = new byte[Limits.ImportChunkBytes];
            long sent = 0;
            foreach (var input in inputs)
            {
                int read;
                while ((read = await input.ReadAsync(buffer, cancellationToken)) > 0)
                {
                    // The message is written out before WriteAsync returns, so that the buffer can be used again.
                    await requests.WriteAsync(new() { Chunk = UnsafeByteOperations.UnsafeWrap(buffer.AsMemory(0, read)) }, cancellationToken);
                    sent += read;
                    report(sent);
                }
            }

            await requests.CompleteAsync();
        }, cancellationToken);
}
