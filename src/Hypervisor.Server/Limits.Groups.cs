namespace Hypervisor.Server;

internal static partial class Limits
{
    /// <summary>Bounds of groups.</summary>
    internal static class Groups
    {
        /// <summary>Of one group. More instances than this are several groups: a group is counted and planned as a whole.</summary>
        public const int Count = 100_000;

        /// <summary>
        /// Of a gang: reserved under one lock, a few milliseconds; up to a tenth of a second where each has several others make room, at most once in
        /// <see cref="GangPause"/>.
        /// </summary>
        public const int GangCount = 256;

        /// <summary>
        /// Instances that make room for one gang: ten transactions of the store, and four for each of its members. Beyond it a gang is better placed
        /// by whoever knows what may stop.
        /// </summary>
        public const int GangVictims = 1000;

        /// <summary>Of nodes that others leave for a gang: a sentence that is read.</summary>
        public const int NodesNamed = 8;

        /// <summary>An instance's name has 63 characters, of which a '-' and eight more tell members apart.</summary>
        public const int NameLength = 54;

        /// <summary>Templates that can be rolled back to.</summary>
        public const int Revisions = 10;

        public const int MaxSurge = 1000;

        /// <summary>Members made or deleted of one group before the next has its turn: one full commit.</summary>
        public const int MembersPerPass = 1024;

        /// <summary>
        /// Instances that one transaction makes. Four keys each, so that 64 operations: a commit joins as many such transactions, a thousand
        /// instances, before etcd's limit of 128 operations on a level is reached.
        /// </summary>
        public const int InstancesPerWrite = 16;

        /// <summary>Bytes of their specifications: a third of what a transaction takes.</summary>
        public const int BytesPerWrite = 512 * 1024;

        /// <summary>Reasons in a receipt: more kinds are not read by anybody.</summary>
        public const int Reasons = 16;

        /// <summary>Names with each.</summary>
        public const int Examples = 3;

        /// <summary>Least time between two looks at one group: members that report at once are looked at once.</summary>
        public static readonly TimeSpan Pause = TimeSpan.FromMilliseconds(100);

        /// <summary>Least time between two attempts to place a gang: each asks for every member.</summary>
        public static readonly TimeSpan GangPause = TimeSpan.FromSeconds(1);

        /// <summary>A member on a node that is Down for so long is replaced: a node that restarts is back before.</summary>
        public static readonly TimeSpan LostAfter = TimeSpan.FromMinutes(1);

        /// <summary>A member that ended for good is replaced after it, so that what ends at once is not made anew all the time.</summary>
        public static readonly TimeSpan ReplacementPause = TimeSpan.FromSeconds(10);

        /// <summary>When the group says nothing: longer than a process takes that ends at once.</summary>
        public static readonly TimeSpan MinReady = TimeSpan.FromSeconds(5);

        public static readonly TimeSpan MaxMinReady = TimeSpan.FromHours(1);

        /// <summary>When the group says nothing: an image may have to be fetched and a VM to boot.</summary>
        public static readonly TimeSpan ProgressDeadline = TimeSpan.FromMinutes(10);

        public static readonly TimeSpan MinProgressDeadline = TimeSpan.FromSeconds(1);

        public static readonly TimeSpan MaxProgressDeadline = TimeSpan.FromHours(24);
    }
}
