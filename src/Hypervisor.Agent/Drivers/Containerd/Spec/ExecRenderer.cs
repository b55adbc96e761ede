using Hypervisor.Agent.Streams;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Drivers.Containerd.Spec;

/// <summary>Renders one more process of a container from its main one: same restrictions, same environment. Pure.</summary>
internal static class ExecRenderer
{
    /// <param name="identity">Null for that of the main process.</param>
    /// <exception cref="DriverException">CommandMissing, ArgumentInvalid, WorkingDirectoryInvalid.</exception>
    public static SpecProcess Render(SpecProcess main, ExecInput request, ProcessIdentity? identity)
    {
        if (request.Command.Count is 0 or > StreamLimits.Arguments || request.Command[0].Length == 0)
        {
            throw new DriverException("CommandMissing", $"command: 1 to {StreamLimits.Arguments} words are needed, the first one not empty", permanent: true);
        }

        foreach (var word in request.Command)
        {
            ProcessRules.RefuseNul("command", word);
        }

        string[] terminal = request.Terminal ? ["TERM=xterm"] : [];
        return main with
        {
            Terminal = request.Terminal,
            Args = [.. request.Command],
            Env = ProcessRules.Merge([.. terminal, .. main.Env, .. request.Env.Select(variable => $"{variable.Name}={variable.Value}")]),
            Cwd = request.WorkingDir.Length > 0 ? ProcessRules.WorkingDirectory(request.WorkingDir) : main.Cwd,
            User = identity is null
                ? main.User
                : new SpecUser(identity.Uid, identity.Gid, identity.AdditionalGids.Count == 0 ? null : identity.AdditionalGids),
            ConsoleSize = request is { Terminal: true, Resize: { Columns: > 0, Rows: > 0 } size }
                ? new SpecConsoleSize((uint)size.Rows, (uint)size.Columns)
                : null,
        };
    }
}
