namespace Hypervisor.Server;

internal static partial class Limits
{
    /// <summary>Bounds of the events that are kept.</summary>
    internal static class Events
    {
        /// <summary>Kinds of events kept of one object; the oldest goes. An instance's life has about ten.</summary>
        public const int PerObject = 16;

        /// <summary>Kept in all; the oldest go. Some 5 MB of memory in each replica.</summary>
        public const int Total = 10_000;

        /// <summary>
        /// Kinds of events that wait to be written; more at once are counted as lost. A thousand instances have about two each. While many thousands are
        /// created, each of these would cost the store as much as a placement, and push out one that was written a moment before.
        /// </summary>
        public const int Waiting = 2048;

        /// <summary>How long events are collected before they are written: what happens again within it costs nothing more.</summary>
        public static readonly TimeSpan Collected = TimeSpan.FromSeconds(1);

        /// <summary>
        /// So many revisions without an event are noted as looked at: far fewer than the log of changes holds, from which the next leader goes on.
        /// </summary>
        public const int ProgressRevisions = 1000;

        /// <summary>Events of one write; several such writes share a commit.</summary>
        public const int PerWrite = 32;

        /// <summary>A sentence or two; longer ones are cut.</summary>
        public const int MessageCharacters = 1024;

        /// <summary>A CamelCase word; it is a part of the key.</summary>
        public const int ReasonCharacters = 64;
    }
}
