namespace Hypervisor.Server;

/// <summary>Every bound of the server with the reason beside it.</summary>
internal static partial class Limits
{
    /// <summary>Bounds of the in-memory view and of what it feeds.</summary>
    internal static class State
    {
        /// <summary>Revisions a watcher may be behind before it has to resync: at 1,000 writes a second some seconds.</summary>
        public const int ChangeLogRevisions = 8192;

        /// <summary>Changed entries held for watchers; at some 0.5 KB for each superseded one this bounds the log to 16 MB.</summary>
        public const int ChangeLogEntries = 32768;

        /// <summary>Keys read at a time when the view is loaded: a few MB.</summary>
        public const int LoadPageKeys = 5000;

        /// <summary>Reading 100,000 instances takes a few seconds; longer means that the store hangs.</summary>
        public static readonly TimeSpan LoadDeadline = TimeSpan.FromSeconds(60);

        /// <summary>Stores report progress every few seconds; a watch silent for longer may be dead (dotnet-etcd issue 264).</summary>
        public static readonly TimeSpan WatchSilence = TimeSpan.FromSeconds(30);

        /// <summary>A view whose age is above this asks the store: one question a second of an idle server, none of a busy one.</summary>
        public static readonly TimeSpan ConfirmInterval = TimeSpan.FromSeconds(1);

        /// <summary>How long a read or a finished write waits for the view to catch up; a healthy one needs milliseconds.</summary>
        public static readonly TimeSpan ReadDeadline = TimeSpan.FromSeconds(5);

        /// <summary>Short: a store that restarts is back within a second.</summary>
        public static readonly TimeSpan RetryMinimum = TimeSpan.FromMilliseconds(50);

        /// <summary>Bounds how late a replica notices that the store is back.</summary>
        public static readonly TimeSpan RetryMaximum = TimeSpan.FromSeconds(5);
    }

    /// <summary>Bounds of leadership, controllers and nodes.</summary>
    internal static class Control
    {
        /// <summary>etcd's smallest lease is about 2 s; three renewals fit, so that one slow fsync deposes nobody.</summary>
        public static readonly TimeSpan LeaderLease = TimeSpan.FromSeconds(5);

        /// <summary>Between two campaigns or two terms when the store is away or a controller failed.</summary>
        public static readonly TimeSpan CampaignRetry = TimeSpan.FromMilliseconds(500);

        /// <summary>What every reconciler looks at everything again after, whatever it was told in between.</summary>
        public static readonly TimeSpan ReconcilePeriod = TimeSpan.FromSeconds(30);

        /// <summary>After a failed write the reconciler looks again, without waiting for a change that may never come.</summary>
        public static readonly TimeSpan ReconcileRetry = TimeSpan.FromMilliseconds(200);

        /// <summary>
        /// Least time between two looks at instances that wait for room: a busy fleet changes many times a millisecond, and each look
        /// compares what changed with each kind of request that waits.
        /// </summary>
        public static readonly TimeSpan PendingPause = TimeSpan.FromMilliseconds(20);

        /// <summary>
        /// Instances without a node that are accepted: they are the queue, in memory and in the store, at some 1 KB each. Beyond it creates are
        /// told to come back.
        /// </summary>
        public const int Pending = 100_000;

        /// <summary>Places kept at once for instances that others make room for, or that move: as many as placements on their way into the store.</summary>
        public const int Claims = 1024;

        /// <summary>Beyond the time that stopping may take; then the place is given up and decided about anew.</summary>
        public static readonly TimeSpan ClaimPatience = TimeSpan.FromMinutes(1);

        /// <summary>
        /// Within the time in which a claim is given up at the earliest, so that who waits for the room need not begin anew: writing some GiB of
        /// memory to a disk takes half a minute.
        /// </summary>
        public static readonly TimeSpan SuspendPatience = TimeSpan.FromSeconds(45);

        /// <summary>Nodes on which room is looked for by evicting: all of a small fleet, and of a large one others each time.</summary>
        public const int PreemptionNodes = 128;

        /// <summary>Instances that make room for one: all of them, and it, are told in one transaction of the store, which takes 128 operations.</summary>
        public const int Victims = 100;

        /// <summary>Instances that leave one node at the same time when it is evacuated: the rest goes on serving.</summary>
        public const int EvictionsPerNode = 4;

        /// <summary>Of those that hold a drain up, so many are named: a message of at most 2 KB, which is stored and shown whole.</summary>
        public const int DrainObstaclesNamed = 8;

        /// <summary>What could not leave yet is looked at again after so long: room comes and goes elsewhere all the time.</summary>
        public static readonly TimeSpan EvacuationRetry = TimeSpan.FromSeconds(1);

        /// <summary>When to come back then: a fleet that places thousands a second has room in the queue again.</summary>
        public static readonly TimeSpan RetryPending = TimeSpan.FromSeconds(2);

        /// <summary>Of those who wait for the same, so many are told anew each time that the words change; more only when the reason does.</summary>
        public const int ToldAtOnce = 16;

        /// <summary>Writes of one controller in flight: one full store batch.</summary>
        public const int WritesInFlight = 64;

        /// <summary>Placements on their way into the store: eight full batches, what the store has in flight.</summary>
        public const int PlacementsInFlight = 1024;

        /// <summary>
        /// A fleet of more nodes than the one is asked in words why it has no room for a kind of request at most once in the other: that takes
        /// a look at each, and thousands may wait.
        /// </summary>
        public const int NodesOfSmallFleet = 256;

        public static readonly TimeSpan ReasonsKept = TimeSpan.FromSeconds(1);

        /// <summary>Clients repeat requests for at most so long; then nothing needs the tombstone's answers.</summary>
        public static readonly TimeSpan TombstoneLifetime = TimeSpan.FromMinutes(15);

        /// <summary>Tombstones looked at per pass; the rest follows in the next one.</summary>
        public const int TombstonesPerPass = 1024;

        /// <summary>How often tombstones and superseded revisions are collected.</summary>
        public static readonly TimeSpan CollectionPeriod = TimeSpan.FromMinutes(1);

        /// <summary>Superseded revisions stay readable for so long: a watch cut for less resumes without reading everything.</summary>
        public static readonly TimeSpan HistoryKept = TimeSpan.FromMinutes(10);

        /// <summary>But never more of them: at some 500 bytes each this bounds the history to about 100 MB.</summary>
        public const long RevisionsKept = 200_000;

        /// <summary>Waiting for this replica's view to include a write; longer means that the store hangs.</summary>
        public static readonly TimeSpan ViewDeadline = TimeSpan.FromSeconds(10);

        /// <summary>A compare-and-swap that loses so often in a row is answered with ABORTED.</summary>
        public const int WriteAttempts = 8;
    }

    /// <summary>Bounds of what agents send.</summary>
    internal static class Agents
    {
        /// <summary>Of CPUs in thousandths, memory and storage in bytes (64 PiB): sixteen times as much, the largest overcommit, is a number still.</summary>
        public const long Capacity = 1L << 56;

        /// <summary>Stored with each node; the agent's own has 64.</summary>
        public const int RegistrationIdCharacters = 128;

        /// <summary>As the contract says; one store batch takes 60 of them.</summary>
        public const int ReportsPerCall = 256;

        /// <summary>A machine that runs more things that nobody knows needs a person; the list is stored with the node.</summary>
        public const int Unclaimed = 1024;

        /// <summary>The list is one value of the store, whose batches end at 1.5 MiB. An agent stops telling specs at half of it.</summary>
        public const int UnclaimedBytes = 1024 * 1024;

        /// <summary>CamelCase words and sentences; longer ones are cut, since the status matters more than its prose.</summary>
        public const int ReasonCharacters = 128;

        public const int MessageCharacters = 2048;

        public const int Conditions = 16;

        public const int Addresses = 16;

        /// <summary>Text of an inventory: versions and names, a sentence at most.</summary>
        public const int InventoryCharacters = 1024;

        public const int Runtimes = 16;

        /// <summary>Of one runtime: one for each family of CVEs that its program is asked about, and what its node lacks.</summary>
        public const int RuntimeWarnings = 16;

        /// <summary>As for every object.</summary>
        public const int Labels = 64;

        /// <summary>Likewise.</summary>
        public const int AnnotationCharacters = 16 * 1024;

        /// <summary>More kinds of reasons not to use a machine are not known.</summary>
        public const int Taints = 16;

        /// <summary>Of CPU and memory; a machine that promises more than so many times itself keeps no promise.</summary>
        public const int Overcommit = 16;

        /// <summary>
        /// Incarnations an agent may be ahead of a restored store: more than anybody restores, and so few that a broken agent
        /// cannot use up the 32,767 there are.
        /// </summary>
        public const int IncarnationLead = 256;

        /// <summary>Nothing to say for so long: the stream is looked at, so that a dead one ends.</summary>
        public static readonly TimeSpan AssignmentIdle = TimeSpan.FromSeconds(30);
    }

    /// <summary>Bounds of what clients may ask for.</summary>
    internal static class Api
    {
        /// <summary>Violations listed in one answer: gRPC headers, which carry them, are bounded at 8 KiB by many clients.</summary>
        public const int FieldViolations = 32;

        /// <summary>Page size when none is asked for: a screenful of screens, some hundred KB.</summary>
        public const int DefaultPageSize = 500;

        /// <summary>Largest page of instances; summaries of so many are some 5 MB.</summary>
        public const int MaxInstancePage = 10_000;

        /// <summary>Largest page of nodes and images, which are shown in full.</summary>
        public const int MaxPage = 1000;

        /// <summary>Views kept for lists that are not finished. Views share what did not change between them.</summary>
        public const int ListPins = 16;

        /// <summary>Characters of a page token: two numbers and a key of two names and a separator, in base 64.</summary>
        public const int PageTokenLength = 1024;

        /// <summary>Characters of a label selector; what one line of a shell holds.</summary>
        public const int SelectorLength = 4096;

        /// <summary>Every watcher judges every change by all of them.</summary>
        public const int SelectorRequirements = 32;

        /// <summary>Values of one "in (…)".</summary>
        public const int SelectorValues = 64;

        /// <summary>Shortest beginning of a uid that is looked for: shorter ones are typing errors.</summary>
        public const int UidPrefixLength = 4;

        /// <summary>Holds a UUID with room; kept 16 times per instance.</summary>
        public const int RequestIdLength = 64;

        /// <summary>Watches at once; each costs some KB while idle.</summary>
        public const int Watches = 10_000;

        /// <summary>
        /// Of the last events that are kept as they are sent: a fan-out is over before so many others come, and at 1 KB for most they
        /// are 256 KB.
        /// </summary>
        public const int EncodedEvents = 256;

        /// <summary>How long between two pages of a list: a person reading, not a night.</summary>
        public static readonly TimeSpan ListPinTime = TimeSpan.FromSeconds(60);

        /// <summary>How often an idle watch says how far it is: bounds what a client repeats after a broken connection.</summary>
        public static readonly TimeSpan WatchBookmarkInterval = TimeSpan.FromSeconds(10);

        /// <summary>How long a watch from a version that this replica has not reached waits: replicas lag by less.</summary>
        public static readonly TimeSpan WatchFutureWait = TimeSpan.FromSeconds(10);

        /// <summary>A client that takes no event for so long is gone or broken.</summary>
        public static readonly TimeSpan WatchWriteDeadline = TimeSpan.FromSeconds(30);

        /// <summary>When to come back while the store or the view is away: about the time of a failover's first retry.</summary>
        public static readonly TimeSpan RetryUnavailable = TimeSpan.FromSeconds(1);
    }

    /// <summary>Bounds of what reaches into instances through their agents; how many there are is bounded by the agents.</summary>
    internal static class Streams
    {
        /// <summary>An agent on the same continent, with a lost SYN.</summary>
        public static readonly TimeSpan Connect = TimeSpan.FromSeconds(5);

        /// <summary>A token, a sample, a client's first message: each needs milliseconds.</summary>
        public static readonly TimeSpan Answer = TimeSpan.FromSeconds(10);

        /// <summary>Of a token that a client is given; as the agents' own.</summary>
        public static readonly TimeSpan TokenLife = TimeSpan.FromSeconds(10);

        /// <summary>An agent's are 43 characters; it becomes a header.</summary>
        public const int TokenCharacters = 128;

        /// <summary>A machine that vanished without a FIN is noticed, and its streams end, within about this and the timeout.</summary>
        public static readonly TimeSpan KeepAlivePing = TimeSpan.FromSeconds(15);

        public static readonly TimeSpan KeepAliveTimeout = TimeSpan.FromSeconds(10);

        /// <summary>Streams come in bursts; an idle connection per agent is worth little more than its handshake.</summary>
        public static readonly TimeSpan Idle = TimeSpan.FromMinutes(2);

        /// <summary>How long a follower waits before it looks for its agent again: an agent is restarted within a second.</summary>
        public static readonly TimeSpan Reconnect = TimeSpan.FromMilliseconds(500);

        /// <summary>The largest is a message of log lines, 256 KiB of text in parts of a few bytes.</summary>
        public const int MessageBytes = 4 * 1024 * 1024;
    }

    /// <summary>Bounds of what listens.</summary>
    internal static class Server
    {
        /// <summary>One per agent and client: 5,000 nodes and as many watchers.</summary>
        public const long Connections = 20_000;

        /// <summary>Per connection; a program that watches many things shares one.</summary>
        public const int StreamsPerConnection = 256;

        /// <summary>10,000 creates of 800 bytes, or one chunk of an image with room.</summary>
        public const int ReceivedMessageBytes = 8 * 1024 * 1024;

        /// <summary>The largest page: 10,000 summaries, or 10,000 whole instances of 6 KiB.</summary>
        public const int SentMessageBytes = 64 * 1024 * 1024;

        /// <summary>A peer that vanished is noticed, and its watches end, within about this and the timeout.</summary>
        public static readonly TimeSpan KeepAlivePing = TimeSpan.FromSeconds(30);

        public static readonly TimeSpan KeepAliveTimeout = TimeSpan.FromSeconds(10);

        /// <summary>The view is confirmed every second, and a silent watch is renewed after 30 s; older is lost contact.</summary>
        public static readonly TimeSpan ReadyViewAge = TimeSpan.FromSeconds(60);

        /// <summary>Unary calls end within seconds; a supervisor kills after 90 s by default.</summary>
        public static readonly TimeSpan ShutdownDeadline = TimeSpan.FromSeconds(10);
    }
}
