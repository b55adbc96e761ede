using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Stores.Records;

namespace Hypervisor.Server.State;

/// <summary>One group as of one revision. Immutable: nobody changes the records; to write, clone them.</summary>
/// <param name="SpecRevision">Modification revision of the spec key: what a writer of the spec compares.</param>
/// <param name="StatusRecord">Null until the leader first looked at it.</param>
/// <param name="StatusRevision">0 while there is no status record.</param>
internal sealed record GroupEntry(
    string Uid, GroupRecord Record, long SpecRevision, GroupStatusRecord? StatusRecord, long StatusRevision, ResourceVersion ResourceVersion)
{
    /// <summary>Of the members' owner.</summary>
    public const string Kind = "Group";

    public ObjectMeta Metadata => Record.Metadata;

    public GroupSpec Spec => Record.Spec;

    public string Project => Metadata.Project;

    public string Name => Metadata.Name;

    public bool Deleting => Metadata.DeletedAt is not null;

    /// <summary>Position in lists: by project, then name.</summary>
    public string ListKey => InstanceEntry.ListKeyOf(Project, Name);
}
