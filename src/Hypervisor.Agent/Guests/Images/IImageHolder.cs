namespace Hypervisor.Agent.Guests.Images;

/// <summary>Knows which images something on the node is made of: disks that have one behind them.</summary>
internal interface IImageHolder
{
    /// <summary>Digests of manifests. What is not named may be removed; a holder that cannot tell throws.</summary>
    Task<IReadOnlySet<string>> HeldAsync(CancellationToken cancellationToken);
}
