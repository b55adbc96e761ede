using System.Globalization;
using Hypervisor.TestCluster;
using Hypervisor.TestCluster.Traces;

namespace Hypervisor.ClusterTests.Proof;

/// <summary>strace on running processes, with all their threads. It lets go of them when it is stopped.</summary>
internal sealed class Tracer : IAsyncDisposable
{
    /// <summary>Longer than any write of the stores, of which strace shows the whole.</summary>
    private const int ShownBytes = 4 << 20;

    private readonly RealProcess _strace;
    private readonly string _file;

    private Tracer(string folder, string expressions, IReadOnlyList<int> processes)
    {
        _file = $"{folder}/trace";
        _strace = new RealProcess(
            "strace",
            "strace",
            [
                "-f", "-y", "-s", ShownBytes.ToString(CultureInfo.InvariantCulture), "-o", _file,
                .. expressions.Split(' ').SelectMany(expression => new[] { "-e", expression }),
                .. processes.SelectMany(process => new[] { "-p", process.ToString(CultureInfo.InvariantCulture) }),
            ],
            $"{folder}/strace.log");
    }

    /// <param name="expressions">Of strace's -e, with spaces between.</param>
    /// <param name="folder">For what it writes.</param>
    public static async Task<Tracer> AttachAsync(string folder, string expressions, params IReadOnlyList<int> processes)
    {
        var tracer = new Tracer(folder, expressions, processes);
        tracer._strace.Start();
        try
        {
            await RealTime.UntilAsync("strace is attached", TimeSpan.FromSeconds(30), () => tracer._strace.IsRunning
                ? processes.All(process => tracer._strace.Log.Contains($"Process {process} attached", StringComparison.Ordinal))
                : throw new InvalidOperationException($"strace ended: {tracer._strace.Log}"));
            return tracer;
        }
        catch
        {
            await tracer.DisposeAsync();
            throw;
        }
    }

    /// <summary>Ends it.</summary>
    public async Task<IReadOnlyList<SystemCall>> CallsAsync()
    {
        await _strace.StopAsync();
        return StraceParser.Parse(File.ReadLines(_file));
    }

    /// <summary>The lines from here on, as they come; a line that is not whole yet is left for the next time.</summary>
    public IEnumerable<string> NewLines(ref long position)
    {
        if (!File.Exists(_file))
        {
            return [];
        }

        using var stream = new FileStream(_file, FileMode.Open, FileAccess.Read, FileShare.ReadWrite);
        stream.Position = position;
        using var reader = new StreamReader(stream);
        var text = reader.ReadToEnd();
        var whole = text[..(text.LastIndexOf('\n') + 1)];
        position += whole.Length;
        return whole.Split('\n', StringSplitOptions.RemoveEmptyEntries);
    }

    public async ValueTask DisposeAsync()
    {
        await _strace.StopAsync();
        await _strace.DisposeAsync();
    }
}
