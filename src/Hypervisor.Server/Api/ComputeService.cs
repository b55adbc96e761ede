using Grpc.Core;
using Hypervisor.Server.Api.Encoded;
using Hypervisor.Server.Api.Instances;
using Hypervisor.Server.Api.Streams;
using Hypervisor.Server.Images;
using Hypervisor.Server.Images.Downloads;
using Hypervisor.Server.Images.Registries;
using Hypervisor.Server.Replicas;
using Hypervisor.Server.State;

namespace Hypervisor.Server.Api;

// What the parts of the service (ComputeService.Instances.cs, ComputeService.Images.cs, ComputeService.Streams.cs) are made of.
[BindServiceMethod(typeof(EncodedMethods), nameof(EncodedMethods.BindOthers))]
internal sealed partial class ComputeService(
    InstanceOperations instances, ImageCatalogue images, ImagePulls pulls, UrlImports urls, InstanceStreams streams, LogStreams logs, ReplicaCalls replicas,
    ViewReads reads, TimeProvider time);
