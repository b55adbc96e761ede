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
    private readonly Argument<string> _file = new("file") { Description = "OCI or docker-save archive, plain, gzip or zstd; - is standard input" };
    private readonly Option<string> _name = new("--name") { Description = "\"name\" or \"name:tag\" (default: the only name in the archive)", HelpName = "NAME" };
    private readonly Option<string> _requestId = CommonOptions.RequestId();
    private readonly Option<OutputFormat> _output = CommonOptions.Output();

    public override NameKind Completes => NameKind.Files;

    public override void Declare(Command command)
    {
        command.Add(_file);
        command.Add(_name);
        command.Add(_requestId);
        command.Add(_output);
    }

    public override async Task<int> RunAsync(Invocation invocation, CancellationToken cancellationToken)
    {
        invocation.Streaming = true;
        var path = invocation.Get(_file)!;
        await using var input = path == "-" ? invocation.Environment.OpenInput() : InputFile.Open(path);
        long? total = input.CanSeek ? input.Length : null;
        var progress = new ProgressLine(invocation.Environment);
        using var call = invocation.Compute.ImportImage(cancellationToken: cancellationToken);
        try
        {
            await SendAsync(call.RequestStream, invocation, input, sent => progress.Show(Describe(path, sent, total)), cancellationToken);
            var image = await call.ResponseAsync;
            progress.Clear();
            ImageResult.Write(invocation.Printer(_output), image, "imported");
            return ExitCode.Done;
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

    private static string Describe(string path, long sent, long? total) => total is > 0
        ? $"{path}: {Readable.Bytes(sent)} of {Readable.Bytes(total.Value)} ({sent * 100 / total.Value} %)"
        : $"{path}: {Readable.Bytes(sent)}";

    private Task SendAsync(
        IClientStreamWriter<ImportImageRequest> requests, Invocation invocation, Stream input, Action<long> report, CancellationToken cancellationToken) =>
        OneStream.WriteAsync(async () =>
        {
            await requests.WriteAsync(
                new()
                {
                    Header = new()
                    {
                        Project = invocation.Project,
                        Name = invocation.Get(_name) ?? "",
                        RequestId = invocation.Get(_requestId) ?? invocation.NewRequestId(),
                    },
                },
                cancellationToken);
            var buffer = new byte[Limits.ImportChunkBytes];
            long sent = 0;
            int read;
            while ((read = await input.ReadAsync(buffer, cancellationToken)) > 0)
            {
                // The message is written out before WriteAsync returns, so that the buffer can be used again.
                await requests.WriteAsync(new() { Chunk = UnsafeByteOperations.UnsafeWrap(buffer.AsMemory(0, read)) }, cancellationToken);
                sent += read;
                report(sent);
            }

            await requests.CompleteAsync();
        }, cancellationToken);
}
