using System.CommandLine;
using Hypervisor.Ctl.Errors;
using Hypervisor.Ctl.Output;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Ctl.Commands.Images;

internal sealed class PullCommand : CtlCommand
{
    private readonly Argument<string> _image = new("image") { Description = "Reference of the image" };
    private readonly Option<string> _requestId = CommonOptions.RequestId();
    private readonly Option<OutputFormat> _output = CommonOptions.Output();

    public override void Declare(Command command)
    {
        command.Add(_image);
        command.Add(_requestId);
        command.Add(_output);
    }

    public override async Task<int> RunAsync(Invocation invocation, CancellationToken cancellationToken)
    {
        invocation.Streaming = true;
        var progress = new ProgressLine(invocation.Environment);
        Image? image = null;
        var name = invocation.Get(_image)!;
        using var call = invocation.Compute.PullImage(
            new() { Project = invocation.Project, Image = name, RequestId = invocation.Get(_requestId) ?? invocation.NewRequestId() },
            cancellationToken: cancellationToken);
        try
        {
            await OneStream.ReadAsync(invocation, call.ResponseStream, message =>
            {
                image = message.Image ?? image;
                var amount = message.BytesTotal > 0 ? $" {Readable.Bytes(message.BytesDone)} of {Readable.Bytes(message.BytesTotal)}" : "";
                progress.Show($"{name}: {message.Status}{amount}");
            }, cancellationToken);
        }
        finally
        {
            progress.Clear();
        }

        ImageResult.Write(
            invocation.Printer(_output), image ?? throw new CtlException(ExitCode.Refused, "The server ended the pull without an image."), "pulled");
        return ExitCode.Done;
    }
}
