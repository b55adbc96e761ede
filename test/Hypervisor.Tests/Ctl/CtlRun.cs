using System.Text;
using Hypervisor.Ctl;
using Hypervisor.Ctl.Commands;
using Hypervisor.Hosting.Randomness;
using Microsoft.Extensions.Time.Testing;

namespace Hypervisor.Tests.Ctl;

/// <summary>Runs a command line in this process, with streams, environment and clock of its own.</summary>
internal sealed class CtlRun : IDisposable
{
    public static readonly DateTimeOffset Now = new(2026, 11, 23, 12, 0, 0, TimeSpan.Zero);

    private readonly MemoryStream _out = new();
    private readonly MemoryStream _error = new();

    public FakeTimeProvider Time { get; } = new(Now);

    /// <summary>Used instead of <see cref="Time"/> when set.</summary>
    public TimeProvider? Clock { get; set; }

    public Dictionary<string, string> Variables { get; } = [];

    public bool Terminal { get; set; }

    public bool ErrorTerminal { get; set; }

    public int Width { get; set; } = 80;

    public byte[] Input { get; set; } = [];

    public string Out => Encoding.UTF8.GetString(_out.ToArray());

    public string Error => Encoding.UTF8.GetString(_error.ToArray());

    public void Dispose()
    {
        _out.Dispose();
        _error.Dispose();
    }

    public async Task<int> RunAsync(FakeServer? server, params string[] words)
    {
        if (server is not null)
        {
            Variables["HYPERVISOR_SERVER"] = server.Address;
        }

        using var giveUp = CancellationTokenSource.CreateLinkedTokenSource(Xunit.TestContext.Current.CancellationToken);
        return await CommandTree.RunAsync(words, Environment(), giveUp.Token);
    }

    public CtlEnvironment Environment() => new()
    {
        Out = new StreamWriter(_out, new UTF8Encoding(false)) { NewLine = "\n", AutoFlush = true },
        Error = new StreamWriter(_error, new UTF8Encoding(false)) { NewLine = "\n", AutoFlush = true },
        RawOut = _out,
        RawError = _error,
        OpenInput = () => new MemoryStream(Input),
        OutIsTerminal = Terminal,
        ErrorIsTerminal = ErrorTerminal,
        TerminalWidth = () => Width,
        Variable = Variables.GetValueOrDefault,
        Time = Clock ?? Time,
        Random = new SystemRandomSource(),
    };
}
