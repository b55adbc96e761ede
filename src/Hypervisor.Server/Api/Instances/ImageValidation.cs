using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Errors;
using Hypervisor.Server.State;

namespace Hypervisor.Server.Api.Instances;

/// <summary>Whether an instance's type can run its image, where the image is known already; otherwise its node finds out.</summary>
internal static class ImageValidation
{
    /// <exception cref="Grpc.Core.RpcException">INVALID_ARGUMENT.</exception>
    public static void Check(InstanceSpec spec, ImageEntry? entry)
    {
        // What was written before there were formats is OCI, which every type runs.
        if (entry?.Record.Image is not { } image || image.Format is ImageFormat.Unspecified || image.Types_.Contains(spec.Type))
        {
            return;
        }

        var kind = image.Format switch
        {
            ImageFormat.Qcow2 or ImageFormat.Raw => $"a disk image ({image.Format.ToString().ToLowerInvariant()}), which boots itself",
            ImageFormat.Kernel => "a kernel with its root file system",
            _ => "an OCI image",
        };
        var types = string.Join(" or ", image.Types_.Select(type => type.ToString().ToLowerInvariant()));
        throw ApiErrors.InvalidArgument("spec.image", $"'{spec.Image}' is {kind}: instances of type {types} can run it. Change spec.type, or take another image.");
    }
}
