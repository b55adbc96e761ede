using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Errors;
using Hypervisor.Server.State;

namespace Hypervisor.Server.Api.Instances;

/// <summary>
/// Whether an instance's type can run its image, and whether what is said of its process is said of an image that has one, where the image is
/// known already; otherwise its node finds out.
/// </summary>
internal static class ImageValidation
{
    /// <param name="spec">With its defaults filled in.</param>
    /// <exception cref="Grpc.Core.RpcException">INVALID_ARGUMENT.</exception>
    public static void Check(InstanceSpec spec, ImageEntry? entry)
    {
        if (entry?.Record.Image is not { } image)
        {
            return;
        }

        // What was written before there were formats is OCI, which every type runs.
        var kind = image.Format switch
        {
            ImageFormat.Qcow2 or ImageFormat.Raw => $"a disk image ({image.Format.ToString().ToLowerInvariant()}), which boots itself",
            ImageFormat.Kernel => "a kernel with its root file system",
            _ => "an OCI image",
        };
        if (image.Format is not ImageFormat.Unspecified && !image.Types_.Contains(spec.Type))
        {
            var types = string.Join(" or ", image.Types_.Select(type => type.ToString().ToLowerInvariant()));
            throw ApiErrors.InvalidArgument("spec.image", $"'{spec.Image}' is {kind}: instances of type {types} can run it. Change spec.type, or take another image.");
        }

        var violations = new FieldViolations();
        if (image.Format is ImageFormat.Qcow2 or ImageFormat.Raw or ImageFormat.Kernel)
        {
            var instead = image.Format == ImageFormat.Kernel ? "" : " and say it to its system, by cloud_init for example";
            foreach (var field in OfProcess(spec))
            {
                violations.Add(field, $"is about the process of an OCI image, and '{spec.Image}' is {kind}; leave it out{instead}.");
            }
        }

        if (image.Format is not (ImageFormat.Qcow2 or ImageFormat.Raw))
        {
            foreach (var field in OfDiskImage(spec))
            {
                violations.Add(field, $"is for disk images, and '{spec.Image}' is {kind}; leave it out{(field == "spec.cloud_init" ? " and use spec.process" : "")}.");
            }
        }

        violations.ThrowIfAny();
    }

    /// <summary>The fields that mean a process that we start, as far as they are set. A host name every machine has.</summary>
    private static IEnumerable<string> OfProcess(InstanceSpec spec)
    {
        var process = spec.Process ?? new();
        (bool IsSet, string Field)[] fields =
        [
            (process.Command.Count > 0, "process.command"),
            (process.Args.Count > 0, "process.args"),
            (process.Env.Count > 0, "process.env"),
            (process.WorkingDir.Length > 0, "process.working_dir"),
            (process.User.Length > 0, "process.user"),
            (process.Stdin, "process.stdin"),
            (process.Terminal, "process.terminal"),
            (spec.Security is { ReadOnlyRoot: true }, "security.read_only_root"),
            (spec.Security is { PidsLimit: not 0 }, "security.pids_limit"),
            (spec.Restart is { Policy: not (RestartPolicy.Unspecified or RestartPolicy.Never) }, "restart.policy"),
            (spec.Stop is { Signal.Length: > 0 }, "stop.signal"),
            (spec.Health?.CheckCase == HealthCheck.CheckOneofCase.Exec, "health.exec"),
        ];
        return fields.Where(field => field.IsSet).Select(field => $"spec.{field.Field}");
    }

    private static IEnumerable<string> OfDiskImage(InstanceSpec spec)
    {
        if (spec.CloudInit is not null)
        {
            yield return "spec.cloud_init";
        }

        if (spec.Machine is { Firmware: not Firmware.Unspecified })
        {
            yield return "spec.machine.firmware";
        }
    }
}
