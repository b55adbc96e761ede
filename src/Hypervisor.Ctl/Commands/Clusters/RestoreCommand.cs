using System.CommandLine;
using System.ComponentModel;
using System.Diagnostics;
using Hypervisor.Ctl.Completion;
using Hypervisor.Ctl.Errors;

namespace Hypervisor.Ctl.Commands.Clusters;

/// <summary>
/// Restoring is the work of the server program on the server's own machine, while it does not serve: it alone has the
/// configuration of the store. This is the same under the name that people look for.
/// </summary>
internal sealed class RestoreCommand : CtlCommand
{
    private const string Program = "hypervisor-server";

    private readonly Argument<string> _file = new("file") { Description = "The backup" };
    private readonly Option<string> _config = new("--config")
    {
        Description = "The server's configuration, which names the store",
        HelpName = "FILE",
    };

    public override NameKind Completes => NameKind.Files;

    public override void Declare(Command command)
    {
        command.Add(_file);
        command.Add(_config);
    }

    public override async Task<int> RunAsync(Invocation invocation, CancellationToken cancellationToken)
    {
        var beside = Path.Combine(AppContext.BaseDirectory, Program);
        var start = new ProcessStartInfo(File.Exists(beside) ? beside : Program);
        if (invocation.Get(_config) is { } config)
        {
            start.ArgumentList.Add("--config");
            start.ArgumentList.Add(config);
        }

        start.ArgumentList.Add("--restore");
        start.ArgumentList.Add(invocation.Get(_file)!);
        try
        {
            // Interrupted, the restore is finished by running it again; the child gets the terminal's signal itself.
            using var server = Process.Start(start)!;
            await server.WaitForExitAsync(CancellationToken.None);
            return server.ExitCode == 0 ? ExitCode.Done : ExitCode.Refused;
        }
        catch (Win32Exception exception)
        {
            throw CtlException.Usage(
                $"{Program} cannot be started: {exception.Message}", "Restore on a server's machine, where it is installed.");
        }
    }
}
