using System.Text;
using Hypervisor.Agent.Drivers.Firecracker.Api;
using Hypervisor.Agent.Guests;
using Hypervisor.Agent.Native;

namespace Hypervisor.Agent.Drivers.Firecracker;

/// <summary>Firecracker's processes: started so that they outlive the agent, each in its cgroup, and ended.</summary>
internal sealed class FirecrackerLaunch(FirecrackerOptions options, FirecrackerRecords records, GuestCgroups cgroups, TimeProvider time)
{
    public static bool IsRunning(FirecrackerRecord record) =>
        record.ProcessId != 0 && GuestProcess.IsRunning(record.Process, line => FirecrackerCommand.IsOf(record.Id, line));

    /// <summary>Answers once its API does.</summary>
    public async Task<FirecrackerRecord> StartAsync(FirecrackerRecord record, GuestMachine machine, CancellationToken cancellationToken)
    {
        var millicores = machine.Limits.CpuMillicores;
        var (program, arguments) = record.User is { } user && options.Jailer is { } jailer
            ? (jailer.Program, FirecrackerCommand.Jailed(record.Id, ProgramSearch.Find(options.Program) ?? options.Program, jailer, user, options.CgroupParent, millicores))
            : (options.Program, FirecrackerCommand.Plain(record.Id));

        // A jail's is made by the jailer.
        var group = record.User is null && millicores > 0 ? cgroups.Make(record.Uid, millicores) : null;
        var command = new GuestCommand(
            program, arguments, record.Root, machine.ConsoleInput, machine.ConsoleLog, Path.Combine(record.RunDirectory, GuestFiles.Errors), group);
        await GuestProcess.StartAsync(command, mark =>
        {
            record = record with { ProcessId = mark.Id, StartTicks = mark.StartTicks };
            records.Write(record);
        });
        await AnswersAsync(record, cancellationToken);
        return record;
    }

    public Task KillAsync(FirecrackerRecord record, CancellationToken cancellationToken) => record.ProcessId == 0
        ? Task.CompletedTask
        // As the shell that waits to become it too: it was recorded, and dies by itself only when its pipe ends.
        : GuestProcess.KillAsync(record.Process, line => FirecrackerCommand.IsOf(record.Id, line), time, cancellationToken);

    public Task EraseCgroupAsync(FirecrackerRecord record, CancellationToken cancellationToken) => cgroups.EraseAsync(record.Uid, cancellationToken);

    /// <summary>The end of what it wrote to standard error; empty when it wrote nothing.</summary>
    public static string LastWords(FirecrackerRecord record)
    {
        try
        {
            using var file = LinuxFile.OpenRead(Path.Combine(record.RunDirectory, GuestFiles.Errors));
            if (file is null)
            {
                return "";
            }

            var buffer = new byte[FirecrackerLimits.LastWordsBytes];
            var read = RandomAccess.Read(file, buffer, Math.Max(0, RandomAccess.GetLength(file) - buffer.Length));
            return FirecrackerCommand.Clean(Encoding.UTF8.GetString(buffer, 0, read).Trim());
        }
        catch (Exception error) when (error is IOException or InvalidDataException)
        {
            return "";
        }
    }

    private async Task AnswersAsync(FirecrackerRecord record, CancellationToken cancellationToken)
    {
        using var root = GuestRoot.Open(record.Root)!;
        using var deadline = new CancellationTokenSource(FirecrackerLimits.Socket, time);
        while (true)
        {
            if (root.HasSocket(GuestFiles.ApiSocket))
            {
                try
                {
                    // Bound is not yet listening.
                    await using var connection = await root.ConnectAsync(GuestFiles.ApiSocket, cancellationToken);
                    return;
                }
                catch (System.Net.Sockets.SocketException)
                {
                }
            }

            if (!IsRunning(record))
            {
                throw new DriverException(GuestLimits.VmmFailed, "firecracker ended before its API answered", permanent: false);
            }

            if (deadline.IsCancellationRequested)
            {
                throw new DriverException(
                    FirecrackerClient.Unavailable, $"firecracker's API did not answer within {FirecrackerLimits.Socket.TotalSeconds} s", permanent: false);
            }

            await Task.Delay(FirecrackerLimits.SocketPoll, time, cancellationToken);
        }
    }
}
