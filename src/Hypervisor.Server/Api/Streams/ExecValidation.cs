using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Errors;
using Hypervisor.Server.Api.Instances;

namespace Hypervisor.Server.Api.Streams;

/// <summary>What may be run in an instance: by the same rules as its own process.</summary>
internal static class ExecValidation
{
    /// <exception cref="Grpc.Core.RpcException">INVALID_ARGUMENT.</exception>
    public static void Check(ExecInput request)
    {
        var violations = new FieldViolations();
        if (request.Command.Count == 0)
        {
            violations.Add("command", "is empty; its first word names the program.");
        }

        // The paths of the fields are the same in both messages.
        var process = new ProcessSpec
        {
            Command = { request.Command },
            Env = { request.Env },
            WorkingDir = request.WorkingDir,
            User = request.User,
        };
        ProcessValidation.Check(process, "exec", violations);
        violations.ThrowIfAny();
    }
}
