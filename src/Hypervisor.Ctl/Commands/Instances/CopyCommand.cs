using System.CommandLine;
using Grpc.Core;
using Hypervisor.Ctl.Connection;
using Hypervisor.Ctl.Copying;
using Hypervisor.Ctl.Errors;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Ctl.Commands.Instances;

/// <summary>Copies a file or folder into an instance or out of it.</summary>
internal sealed class CopyCommand : CtlCommand
{
    private readonly Argument<string> _source = new("source") { Description = "INSTANCE:/PATH or a local path", HelpName = "SOURCE" };
    private readonly Argument<string> _destination = new("destination") { Description = "The other one; a folder that is there takes the copy into it", HelpName = "DESTINATION" };

    public override void Declare(Command command)
    {
        command.Add(_source);
        command.Add(_destination);
    }

    public override async Task<int> RunAsync(Invocation invocation, CancellationToken cancellationToken)
    {
        invocation.Streaming = true;
        var (source, destination) = (Remote(invocation.Get(_source)!), Remote(invocation.Get(_destination)!));
        switch (source, destination)
        {
            case ({ } from, null):
                await FromAsync(invocation, from, invocation.Get(_destination)!, cancellationToken);
                return ExitCode.Done;
            case (null, { } to):
                await ToAsync(invocation, invocation.Get(_source)!, to, cancellationToken);
                return ExitCode.Done;
            default:
                throw CtlException.Usage("One of the two must be INSTANCE:/PATH, the other a local path.", "A local path with a colon begins with ./");
        }
    }

    private static (string Instance, string Path)? Remote(string text)
    {
        var colon = text.IndexOf(':', StringComparison.Ordinal);
        return colon > 0 && !text.AsSpan(0, colon).ContainsAny('/', '.') ? (text[..colon], text[(colon + 1)..]) : null;
    }

    private static async Task FromAsync(Invocation invocation, (string Instance, string Path) from, string place, CancellationToken cancellationToken)
    {
        using var writer = new LocalWriter(place, Path.GetFileName(from.Path.TrimEnd('/')) is { Length: > 0 } name ? name : from.Instance);
        using var call = invocation.Compute.CopyFrom(
            new CopyFromRequest { Project = invocation.Project, Instance = from.Instance, Path = from.Path }, cancellationToken: cancellationToken);
        await OneStream.ReadAsync(invocation, call.ResponseStream, part =>
        {
            if (part.Entry is { } entry)
            {
                writer.Add(entry);
            }
            else
            {
                writer.Write(part.Data.Span);
            }
        }, cancellationToken);
        writer.Complete();
    }

    private static async Task ToAsync(Invocation invocation, string place, (string Instance, string Path) to, CancellationToken cancellationToken)
    {
        var requests = LocalReader.Read(place);
        using var call = invocation.Compute.CopyTo(cancellationToken: cancellationToken);
        try
        {
            await SendAsync(call.RequestStream, requests, new CopyToHeader
            {
                Project = invocation.Project,
                Instance = to.Instance,
                Path = to.Path,
                Name = Path.GetFileName(Path.TrimEndingDirectorySeparator(Path.GetFullPath(place))),
            }, cancellationToken);
            await call.ResponseAsync;
        }
        catch (RpcException exception) when (ServerConnection.IsAway(exception) && exception.Trailers.Count == 0)
        {
            throw invocation.Connection.Unreachable(exception);
        }
    }

    private static Task SendAsync(
        IClientStreamWriter<CopyToRequest> stream, IEnumerable<CopyToRequest> requests, CopyToHeader header, CancellationToken cancellationToken) =>
        OneStream.WriteAsync(async () =>
        {
            await stream.WriteAsync(new CopyToRequest { Header = header }, cancellationToken);
            foreach (var request in requests)
            {
                await stream.WriteAsync(request, cancellationToken);
            }

            await stream.CompleteAsync();
        }, cancellationToken);
}
