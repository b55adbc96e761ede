using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Hypervisor.Protocol;
using Hypervisor.Server.Groups;
using Hypervisor.Server.State;
using Hypervisor.Server.Stores;

namespace Hypervisor.Server.Controllers.Groups;

/// <summary>How members leave their group: deleted, or let go as instances of their own.</summary>
internal static class MemberRemoval
{
    /// <summary>As DeleteInstance: what was never placed goes at once, anything else when its node has removed every trace.</summary>
    public static StoreWrite Delete(InstanceEntry member, DateTimeOffset now, Compare guard)
    {
        if (member.Epoch == Epoch.None)
        {
            return InstanceRemoval.Write(member, now, [guard]);
        }

        var record = member.SpecRecord.Clone();
        record.Metadata.DeletedAt = now.ToTimestamp();
        record.Metadata.Generation++;
        return new([guard, Compare.Modified(member.SpecKey, member.SpecRevision)], [new StoreOperation.Put(member.SpecKey, record.ToByteArray())]);
    }

    public static StoreWrite LetGo(InstanceEntry member, Compare guard)
    {
        var record = member.SpecRecord.Clone();
        record.Metadata.Owner = null;
        record.Metadata.Labels.Remove(GroupLabel.Key);
        return new([guard, Compare.Modified(member.SpecKey, member.SpecRevision)], [new StoreOperation.Put(member.SpecKey, record.ToByteArray())]);
    }

    /// <summary>The group itself, when it has no members any more.</summary>
    public static StoreWrite Group(GroupEntry group, Compare guard) => new(
        [guard, Compare.Modified(Keys.GroupSpec(group.Uid), group.SpecRevision)],
        [
            new StoreOperation.Delete(Keys.GroupSpec(group.Uid)),
            new StoreOperation.Delete(Keys.GroupStatus(group.Uid)),
            new StoreOperation.Delete(Keys.GroupName(group.Project, group.Name)),
            .. group.Record.Revisions.Select(mark => new StoreOperation.Delete(Keys.GroupRevision(group.Uid, mark.Revision))),
        ]);
}
