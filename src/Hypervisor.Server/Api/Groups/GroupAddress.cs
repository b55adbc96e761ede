using Hypervisor.Protocol;
using Hypervisor.Server.Api.Errors;
using Hypervisor.Server.Api.Validation;
using Hypervisor.Server.State;

namespace Hypervisor.Server.Api.Groups;

/// <summary>Finds what a request means by a name or a uid; a name goes first. One project only.</summary>
internal static class GroupAddress
{
    public static void Check(string address, FieldViolations violations, string field = "group")
    {
        // A uid's text is a DNS label too.
        if (!LabelSyntax.IsDnsLabel(address))
        {
            violations.Add(field, address.Length == 0 ? "is required: a name or a uid." : $"'{Printable.Quote(address)}' is neither a name nor a uid.");
        }
    }

    /// <exception cref="Grpc.Core.RpcException">NOT_FOUND.</exception>
    public static GroupEntry Resolve(ClusterView view, string project, string address) =>
        view.GroupByName(project, address)
        ?? (view.Group(address) is { } known && known.Project == project ? known : throw ApiErrors.NotFound(GroupEntry.Kind, project, Printable.Quote(address)));
}
