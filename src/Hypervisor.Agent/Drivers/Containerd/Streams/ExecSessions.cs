using Containerd.Services.Tasks.V1;
using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Hypervisor.Agent.Drivers.Containerd.Connection;
using Hypervisor.Agent.Drivers.Containerd.Kernel;
using Hypervisor.Agent.Drivers.Containerd.Spec;
using Hypervisor.Hosting.Randomness;

namespace Hypervisor.Agent.Drivers.Containerd.Streams;

/// <summary>Additional processes in containers. Each has a folder with its pipes, by which an agent that was killed is cleaned up after.</summary>
internal sealed class ExecSessions(ContainerdClient client, ContainerdOptions options, Cgroups cgroups, IRandomSource random, TimeProvider time)
    : IDisposable
{
    private readonly string _directory = Path.Combine(options.RunDirectory, "exec");
    private readonly SemaphoreSlim _sweeping = new(1, 1);
    private bool _swept;

    public async Task<ExecProcess> StartAsync(string id, SpecProcess process, bool attachStdin, CancellationToken cancellationToken)
    {
        await SweepAsync(cancellationToken);
        var execId = random.NewUid();
        var pipes = new ExecPipes(Path.Combine(_directory, id, execId), attachStdin, process.Terminal);
        var exec = new ExecProcess(client, cgroups, time, id, execId, pipes);
        try
        {
            await client.Tasks.ExecAsync(
                new ExecProcessRequest
                {
                    ContainerId = id,
                    ExecId = execId,
                    Stdin = pipes.InputPath,
                    Stdout = pipes.OutputPath,
                    Stderr = pipes.ErrorPath,
                    Terminal = process.Terminal,
                    Spec = new Any { TypeUrl = SpecProcess.TypeUrl, Value = UnsafeByteOperations.UnsafeWrap(process.ToJson()) },
                },
                client.Call(ContainerdLimits.Runtime, cancellationToken));
            var started = await client.Tasks.StartAsync(
                new StartRequest { ContainerId = id, ExecId = execId }, client.Call(ContainerdLimits.Runtime, cancellationToken));
            exec.Started((int)started.Pid);
            return exec;
        }
        catch
        {
            await exec.DisposeAsync();
            throw;
        }
    }

    public void Dispose() => _sweeping.Dispose();

    /// <summary>Once, before anything else: kills the processes whose client went away with an earlier agent.</summary>
    public async Task SweepAsync(CancellationToken cancellationToken)
    {
        if (Volatile.Read(ref _swept))
        {
            return;
        }

        await _sweeping.WaitAsync(cancellationToken);
        try
        {
            foreach (var instance in !_swept && Directory.Exists(_directory) ? Directory.GetDirectories(_directory) : [])
            {
                foreach (var exec in Directory.GetDirectories(instance))
                {
                    var process = new ExecProcess(client, cgroups, time, Path.GetFileName(instance), Path.GetFileName(exec), null);
                    await process.FindAsync(cancellationToken);
                    await process.DisposeAsync();
                    Directory.Delete(exec, recursive: true);
                }

                Directory.Delete(instance, recursive: true);
            }

            _swept = true;
        }
        finally
        {
            _sweeping.Release();
        }
    }
}

/// <summary>The pipes of one process, open at our side.</summary>
internal sealed class ExecPipes : IDisposable
{
    /// <summary>The folder of an instance goes with its last process, and comes with the next.</summary>
    private static readonly Lock Folders = new();

    private readonly string _directory;
    private readonly List<IDisposable> _holds = [];

    public ExecPipes(string directory, bool stdin, bool terminal)
    {
        _directory = directory;
        lock (Folders)
        {
            Directory.CreateDirectory(directory, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        }

        OutputPath = Make("out");
        Output = Pipes.OpenForReading(OutputPath);
        _holds.Add(Pipes.Hold(OutputPath));
        if (!terminal)
        {
            ErrorPath = Make("err");
            Error = Pipes.OpenForReading(ErrorPath);
            _holds.Add(Pipes.Hold(ErrorPath));
        }

        if (stdin)
        {
            InputPath = Make("in");
            Input = Pipes.OpenForWriting(InputPath);
        }
    }

    public string OutputPath { get; }

    public string ErrorPath { get; } = "";

    public string InputPath { get; } = "";

    public Stream Output { get; }

    /// <summary>Null with a terminal.</summary>
    public Stream? Error { get; }

    /// <summary>Null without standard input, and once it is closed.</summary>
    public Stream? Input { get; private set; }

    /// <summary>The shim has its ends open: from now on the end of them is the end.</summary>
    public void Release()
    {
        _holds.ForEach(hold => hold.Dispose());
        _holds.Clear();
    }

    public void CloseInput()
    {
        Input?.Dispose();
        Input = null;
    }

    public void Dispose()
    {
        Release();
        CloseInput();
        Output.Dispose();
        Error?.Dispose();
        lock (Folders)
        {
            Directory.Delete(_directory, recursive: true);
            var instance = Path.GetDirectoryName(_directory)!;
            if (!Directory.EnumerateFileSystemEntries(instance).Any())
            {
                Directory.Delete(instance);
            }
        }
    }

    private string Make(string name)
    {
        var path = Path.Combine(_directory, name);
        NativeMethods.MakeFifo(path);
        return path;
    }
}
