using System.Net;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Hypervisor.TestCluster;

/// <summary>The system calls that tests need and .NET does not offer.</summary>
internal static partial class Linux
{
    public const int SignalKill = 9;
    public const int SignalTerminate = 15;
    public const int SignalContinue = 18;
    public const int SignalStop = 19;

    private const int CloneNewNetwork = 0x40000000;

    /// <summary>Exchanges two names at one moment; false when it cannot be done now.</summary>
    public static bool Exchange(string one, string other) => RenameAt(-100 /* AT_FDCWD */, one, -100, other, 2 /* RENAME_EXCHANGE */) == 0;

    /// <summary>A zombie does not run: it waits for a parent that may never ask.</summary>
    public static bool IsRunning(int processId)
    {
        try
        {
            // proc(5): the state comes after the name in brackets, which may hold anything.
            var stat = File.ReadAllText($"/proc/{processId}/stat");
            return stat[stat.LastIndexOf(')') + 2] is not ('Z' or 'X');
        }
        catch (IOException)
        {
            return false;
        }
    }

    /// <summary>By SIGSTOP, all of its threads.</summary>
    public static bool IsStopped(int processId)
    {
        var states = Directory.EnumerateFiles($"/proc/{processId}/task", "stat", new EnumerationOptions { RecurseSubdirectories = true, MaxRecursionDepth = 1 })
            .Select(File.ReadAllText).Select(stat => stat[stat.LastIndexOf(')') + 2]);
        return states.All(state => state == 'T');
    }

    public static void Signal(int processId, int signal)
    {
        if (Kill(processId, signal) != 0 && Marshal.GetLastPInvokeError() != 3 /* ESRCH */)
        {
            throw new InvalidOperationException($"kill({processId}, {signal}): {Marshal.GetLastPInvokeErrorMessage()}");
        }
    }

    /// <summary>Connects from inside a network namespace; the socket stays there whatever thread uses it.</summary>
    public static Task<Socket> ConnectInsideAsync(string namespacePath, EndPoint endPoint, TimeSpan timeout) =>
        OnOwnThreadAsync(namespacePath, () =>
        {
            var socket = new Socket(SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
            try
            {
                var connect = socket.BeginConnect(endPoint, null, null);
                if (!connect.AsyncWaitHandle.WaitOne(timeout))
                {
                    throw new SocketException((int)SocketError.TimedOut);
                }

                socket.EndConnect(connect);
                return socket;
            }
            catch
            {
                socket.Dispose();
                throw;
            }
        });

    /// <summary>A listening socket inside a network namespace, whatever thread uses it.</summary>
    public static Task<Socket> ListenInsideAsync(string namespacePath, IPEndPoint endPoint) => OnOwnThreadAsync(namespacePath, () =>
    {
        var socket = new Socket(endPoint.AddressFamily, SocketType.Stream, ProtocolType.Tcp);
        socket.Bind(endPoint);
        socket.Listen();
        return socket;
    });

    /// <summary>Runs on a thread that enters the namespace and ends afterwards, so that no pooled thread stays behind in it.</summary>
    public static Task<T> OnOwnThreadAsync<T>(string namespacePath, Func<T> action)
    {
        var completion = new TaskCompletionSource<T>(TaskCreationOptions.RunContinuationsAsynchronously);
        new Thread(() =>
        {
            try
            {
                using var handle = File.OpenHandle(namespacePath);
                if (SetNamespace((int)handle.DangerousGetHandle(), CloneNewNetwork) != 0)
                {
                    throw new InvalidOperationException($"setns({namespacePath}): {Marshal.GetLastPInvokeErrorMessage()}");
                }

                completion.SetResult(action());
            }
            catch (Exception exception)
            {
                completion.SetException(exception);
            }
        })
        { IsBackground = true }.Start();
        return completion.Task;
    }

    /// <summary>What was written is on the disk, as the embedded store asks for it: without the file's times.</summary>
    public static void DataSync(SafeFileHandle file)
    {
        if (FileDataSync(file) != 0)
        {
            throw new IOException($"fdatasync: {Marshal.GetLastPInvokeErrorMessage()}");
        }
    }

    [LibraryImport("libc", EntryPoint = "fdatasync", SetLastError = true)]
    private static partial int FileDataSync(SafeFileHandle file);

    [LibraryImport("libc", EntryPoint = "kill", SetLastError = true)]
    private static partial int Kill(int pid, int signal);

    [LibraryImport("libc", EntryPoint = "renameat2", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int RenameAt(int oldFolder, string oldPath, int newFolder, string newPath, uint flags);

    [LibraryImport("libc", EntryPoint = "setns", SetLastError = true)]
    private static partial int SetNamespace(int fd, int type);
}
