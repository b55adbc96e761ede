using System.CommandLine;
using System.Reflection;
using System.Text.Json;
using Hypervisor.Ctl.Errors;
using Hypervisor.Ctl.Output;

namespace Hypervisor.Ctl.Commands;

internal sealed class VersionCommand : CtlCommand
{
    private readonly Option<OutputFormat> _output = CommonOptions.Output();

    public static string Version { get; } =
        typeof(VersionCommand).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()!.InformationalVersion;

    public override void Declare(Command command) => command.Add(_output);

    public override Task<int> RunAsync(Invocation invocation, CancellationToken cancellationToken)
    {
        var output = invocation.Environment.Out;
        switch (invocation.Get(_output))
        {
            case OutputFormat.Json:
                output.WriteLine($"{{ \"version\": \"{JsonEncodedText.Encode(Version)}\" }}");
                break;
            case OutputFormat.Yaml:
                output.WriteLine($"version: {Version}");
                break;
            case OutputFormat.Name:
                output.WriteLine(Version);
                break;
            default:
                output.WriteLine($"hypervisor-ctl {Version}");
                break;
        }

        return Task.FromResult(ExitCode.Done);
    }
}
