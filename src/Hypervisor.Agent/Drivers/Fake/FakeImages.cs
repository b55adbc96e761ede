using Hypervisor.Agent.Instances;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Drivers.Fake;

/// <summary>Has every image but those whose reference begins with "missing".</summary>
internal sealed class FakeImages(FakeFaults faults) : IImageProvider
{
    public async Task<string> EnsureAsync(string project, string reference, string digest, ImagePullPolicy policy, CancellationToken cancellationToken)
    {
        await faults.PassAsync(nameof(EnsureAsync), cancellationToken);
        if (reference.StartsWith("missing", StringComparison.Ordinal))
        {
            throw new DriverException("ImageNotFound", $"Image \"{reference}\" is not in project \"{project}\"; import it first.", permanent: true);
        }

        return digest.Length > 0 ? digest : "sha256:" + new string('0', 64);
    }
}
