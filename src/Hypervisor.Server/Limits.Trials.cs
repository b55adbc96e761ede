namespace Hypervisor.Server;

internal static partial class Limits
{
    /// <summary>Bounds of what is tried on copies of the fleet: processor time and memory that placements would have.</summary>
    internal static class Trials
    {
        /// <summary>What a person asks about in one command; a zone or region is one entry, however large.</summary>
        public const int Lost = 64;

        public const int Entries = 16;

        /// <summary>As many as one cluster is planned for.</summary>
        public const int AddedNodes = 10_000;

        /// <summary>Some 50 MB, for as long as it is tried.</summary>
        public const int PlacedInstances = 100_000;

        /// <summary>Each is an instance that stops; more are asked for again when these are done.</summary>
        public const int Moves = 1000;

        /// <summary>Several times what 10,000 nodes and 100,000 instances take, and before the command line gives up.</summary>
        public static readonly TimeSpan Deadline = TimeSpan.FromSeconds(20);

        /// <summary>One copy of the fleet at a time; for so long others wait for it.</summary>
        public static readonly TimeSpan Turn = TimeSpan.FromSeconds(5);

        /// <summary>Least time between two looks at what would come of the loss of each zone.</summary>
        public static readonly TimeSpan ZoneLossPeriod = TimeSpan.FromSeconds(10);

        /// <summary>After each zone so many times longer than it took: a twentieth of one core at most.</summary>
        public const int ZoneLossPause = 19;

        /// <summary>Zones that are looked at, and have a series each in the metrics.</summary>
        public const int Zones = 64;
    }
}
