using System.Diagnostics;
using System.Text;
using Hypervisor.TestCluster;
using Xunit;

namespace Hypervisor.ClusterTests.Streams;

/// <summary>A shell command under a terminal of its own, typed at and read by a test; script(1) makes the terminal.</summary>
internal sealed class PtySession : IAsyncDisposable
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);

    private readonly Process _script;
    private readonly StringBuilder _text = new();
    private readonly Task _reading;

    public PtySession(string command)
    {
        _script = Process.Start(new ProcessStartInfo("script", ["-q", "-e", "-c", command, "/dev/null"])
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
        })!;
        _reading = ReadAsync();
    }

    public string Text
    {
        get
        {
            lock (_text)
            {
                return _text.ToString();
            }
        }
    }

    public void Type(string keys)
    {
        _script.StandardInput.Write(keys);
        _script.StandardInput.Flush();
    }

    public async Task UntilAsync(string text)
    {
        try
        {
            await RealTime.UntilAsync($"the terminal shows '{text}'", Patience, () => Text.Contains(text, StringComparison.Ordinal));
        }
        catch (TimeoutException exception)
        {
            throw new TimeoutException($"{exception.Message}; it shows: {Text}", exception);
        }
    }

    /// <summary>The process id of a program that runs under the terminal.</summary>
    public async Task<int> ChildAsync(string program)
    {
        var found = 0;
        await RealTime.UntilAsync($"{program} runs", Patience, () => (found = Find(_script.Id, program)) != 0);
        return found;
    }

    public async Task<int> EndAsync()
    {
        await _script.WaitForExitAsync(TestContext.Current.CancellationToken).WaitAsync(Patience);
        await _reading;
        return _script.ExitCode;
    }

    public async ValueTask DisposeAsync()
    {
        if (!_script.HasExited)
        {
            _script.Kill(entireProcessTree: true);
            await _script.WaitForExitAsync();
        }

        _script.Dispose();
    }

    private static int Find(int parent, string program)
    {
        foreach (var child in Children(parent))
        {
            var name = Read($"/proc/{child}/cmdline").Split('\0')[0];
            var found = name.EndsWith(program, StringComparison.Ordinal) ? child : Find(child, program);
            if (found != 0)
            {
                return found;
            }
        }

        return 0;
    }

    private static IEnumerable<int> Children(int parent) =>
        Read($"/proc/{parent}/task/{parent}/children").Split(' ', StringSplitOptions.RemoveEmptyEntries).Select(int.Parse);

    private static string Read(string file)
    {
        try
        {
            return File.ReadAllText(file);
        }
        catch (IOException)
        {
            return "";
        }
    }

    private async Task ReadAsync()
    {
        var buffer = new char[4096];
        int read;
        while ((read = await _script.StandardOutput.ReadAsync(buffer)) > 0)
        {
            lock (_text)
            {
                _text.Append(buffer, 0, read);
            }
        }
    }
}
