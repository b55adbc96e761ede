using Hypervisor.Server.Api.Instances;
using Hypervisor.Server.Images;
using Hypervisor.Server.Images.Registries;

namespace Hypervisor.Server.Api;

// What the parts of the service (ComputeService.Instances.cs, ComputeService.Images.cs) are made of.
internal sealed partial class ComputeService(InstanceOperations instances, ImageCatalogue images, ImagePulls pulls, TimeProvider time);
