using Hypervisor.Protocol;

namespace Hypervisor.Server.Stores;

/// <summary>Every key of the store. Names contain no '/'; an image's reference, the last part of its key, may.</summary>
internal static class Keys
{
    public const string ClusterIdentity = "cluster/identity";
    /// <summary>Written by a store whose watch has been silent: it comes back through the watch, or the watch is dead. No record.</summary>
    public const string WatchMarker = "cluster/watch-marker";

    /// <summary>There while a restore is under way: the SHA-256 of its file. No server begins before it is gone.</summary>
    public const string Restore = "cluster/restore";

    /// <summary>How far the leaders have told events. Not in backups: a restored store's revisions are others.</summary>
    public const string EventsRecorded = "cluster/events-recorded";

    public const string Specs = "instances/spec/";
    public const string Placements = "instances/placement/";
    public const string Statuses = "instances/status/";
    public const string Receipts = "instances/receipt/";
    public const string Tombstones = "instances/tombstone/";
    public const string NodeSpecs = "nodes/spec/";
    public const string NodeRegistrations = "nodes/registration/";
    public const string NodeHealths = "nodes/health/";
    public const string NodeDrains = "nodes/drain/";
    public const string NodeNames = "nodes/name/";
    public const string NodeSubnets = "nodes/subnet/";
    public const string Images = "images/";
    public const string Events = "events/";
    public const string GroupSpecs = "groups/spec/";
    public const string GroupStatuses = "groups/status/";
    public const string GroupRevisions = "groups/revision/";
    public const string GroupNames = "groups/name/";
    public const string Leaders = "leaders/";

    /// <summary>The election whose winner runs the controllers.</summary>
    public const string ControllerElection = "controllers";

    /// <summary>Elections that each server wins alone for as long as it lives; the candidate is its address.</summary>
    public const string ReplicaElection = "replica/";

    /// <summary>By name and not by uid: so the key holds the name as well, and an instance is one record less.</summary>
    public static string Spec(string project, string name) => $"{Specs}{project}/{name}";

    public static string Placement(InstanceId id) => Placements + id.Value;

    public static string Status(InstanceId id) => Statuses + id.Value;

    public static string Receipt(InstanceId id) => Receipts + id.Value;

    public static string Tombstone(InstanceId id) => Tombstones + id.Value;

    public static string NodeSpec(NodeId id) => NodeSpecs + id.Value;

    public static string NodeRegistration(NodeId id) => NodeRegistrations + id.Value;

    public static string NodeHealth(NodeId id) => NodeHealths + id.Value;

    public static string NodeDrain(NodeId id) => NodeDrains + id.Value;

    public static string NodeName(string name) => NodeNames + name;

    /// <summary>The CIDR's '/' is written '_'.</summary>
    public static string NodeSubnet(string cidr) => NodeSubnets + cidr.Replace('/', '_');

    public static string Image(string project, string reference) => $"{Images}{project}/{reference}";

    /// <param name="reason">Letters and digits.</param>
    public static string Event(string objectUid, string reason) => $"{Events}{objectUid}/{reason}";

    public static string GroupSpec(string uid) => GroupSpecs + uid;

    public static string GroupStatus(string uid) => GroupStatuses + uid;

    /// <summary>In the order of the numbers.</summary>
    public static string GroupRevision(string uid, long revision) => string.Create(System.Globalization.CultureInfo.InvariantCulture, $"{GroupRevisions}{uid}/{revision:D19}");

    public static string GroupName(string project, string name) => $"{GroupNames}{project}/{name}";

    public static string Leader(string election) => Leaders + election;
}
