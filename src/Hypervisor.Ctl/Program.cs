using System.Text;
using Hypervisor.Ctl;
using Hypervisor.Ctl.Commands;
using Hypervisor.Ctl.Errors;
using Hypervisor.Hosting.Randomness;

// Not Console.Out, which loads terminfo and installs signal handlers before the first character.
using var output = new DescriptorStream(1);
using var error = new DescriptorStream(2);
var encoding = new UTF8Encoding(encoderShouldEmitUTF8Identifier: false);

var environment = new CtlEnvironment
{
    Out = new StreamWriter(output, encoding, bufferSize: 16 * 1024) { NewLine = "\n" },
    Error = new StreamWriter(error, encoding, bufferSize: 1024) { NewLine = "\n", AutoFlush = true },
    RawOut = output,
    RawError = error,
    OpenInput = static () => new DescriptorInput(0),
    OutIsTerminal = !Console.IsOutputRedirected,
    ErrorIsTerminal = !Console.IsErrorRedirected,
    // Some terminals say 0 for "unknown".
    TerminalWidth = static () => Console.WindowWidth is > 0 and var width ? width : int.MaxValue,
    Variable = Environment.GetEnvironmentVariable,
#pragma warning disable RS0030 // Composition root: the one place that takes the real clock.
    Time = TimeProvider.System,
#pragma warning restore RS0030
    Random = new KernelRandomSource(),
};

try
{
    return await CommandTree.RunAsync(args, environment, CancellationToken.None);
}
catch (IOException exception) when (exception.HResult == DescriptorStream.BrokenPipe)
{
    // The reader of our output is gone ("| head"): there is nobody left to tell. 141 is what SIGPIPE would have given.
    return 141;
}
catch (IOException exception)
{
    // A full disk behind "> file": what was printed is not all there is.
    error.Write(encoding.GetBytes($"error: {exception.Message}\n"));
    return ExitCode.Refused;
}
