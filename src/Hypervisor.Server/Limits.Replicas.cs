namespace Hypervisor.Server;

internal static partial class Limits
{
    /// <summary>Bounds of what servers know and ask of each other.</summary>
    internal static class Replicas
    {
        /// <summary>How long a server that is gone is still listed: longer than its own restart takes.</summary>
        public static readonly TimeSpan Lease = TimeSpan.FromSeconds(10);

        /// <summary>For another server to say how far it is; one that needs longer is shown as not reached.</summary>
        public static readonly TimeSpan Answer = TimeSpan.FromSeconds(2);

        /// <summary>For the leader to carry out what was passed on: as long as a client waits.</summary>
        public static readonly TimeSpan Forwarded = TimeSpan.FromSeconds(10);
    }
}
