using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Instances;
using Hypervisor.Server.Stores;
using Hypervisor.Server.Stores.Records;

namespace Hypervisor.Server.Api.Groups;

/// <summary>
/// The templates that a group had. A template that is wanted again is the revision that it was, so that members that have it stay; the one that was
/// wanted longest ago is forgotten when there are too many.
/// </summary>
internal static class GroupRevisions
{
    /// <summary>Makes the template of the record's spec the wanted one.</summary>
    /// <param name="record">Changed.</param>
    /// <returns>What has to be written with the record.</returns>
    public static IReadOnlyList<StoreOperation> Want(GroupRecord record, string uid, DateTimeOffset now)
    {
        var digest = DigestOf(record.Spec.Template);
        var known = record.Revisions.FirstOrDefault(mark => mark.Digest == digest);
        if (known is not null && known.Revision == record.Revision)
        {
            return [];
        }

        var operations = new List<StoreOperation>();
        if (known is null)
        {
            known = new() { Revision = ++record.LastRevision, Digest = digest };
            operations.Add(new StoreOperation.Put(
                Keys.GroupRevision(uid, known.Revision), new GroupRevisionRecord { Template = record.Spec.Template }.ToByteArray()));
        }

        record.Revisions.Remove(known);
        while (record.Revisions.Count >= Limits.Groups.Revisions)
        {
            operations.Add(new StoreOperation.Delete(Keys.GroupRevision(uid, record.Revisions[0].Revision)));
            record.Revisions.RemoveAt(0);
        }

        (known.WantedAt, record.Revision) = (now.ToTimestamp(), known.Revision);
        record.Revisions.Add(known);
        return operations;
    }

    private static ByteString DigestOf(InstanceTemplate template) => RequestKey.Of("", template).Digest;
}
