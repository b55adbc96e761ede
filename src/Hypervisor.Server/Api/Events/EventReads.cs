using System.Runtime.CompilerServices;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Errors;
using Hypervisor.Server.Api.Lists;
using Hypervisor.Server.Api.Validation;
using Hypervisor.Server.Api.Watches;
using Hypervisor.Server.State;

namespace Hypervisor.Server.Api.Events;

/// <summary>ListEvents and WatchEvents.</summary>
internal sealed class EventReads(PagedReads pages, WatchHub watches)
{
    /// <summary>What happened last comes last.</summary>
    public async Task<ListEventsResponse> ListAsync(ListEventsRequest request, CancellationToken cancellationToken)
    {
        var violations = new FieldViolations();
        var filter = EventFilter.Parse(request.Project, request.ObjectUid, violations);
        var size = PagedReads.PageSize(request.PageSize, Limits.Api.MaxPage, violations);
        RequestChecks.CheckConsistency(request.Consistency, violations);
        violations.ThrowIfAny();
        var page = await pages.BeginAsync(request.PageToken, filter.Fingerprint, request.Consistency, cancellationToken);
        var matching = page.View.EventsFrom(page.Start("")).Where(filter.Matches).Take(size + 1).ToList();
        var response = new ListEventsResponse();
        response.Events.AddRange(matching.Take(size).Select(entry => entry.Render()));
        response.List = pages.End(page, matching.Count > size ? matching[size - 1].ListKey : null);
        return response;
    }

    public async IAsyncEnumerable<WatchEventsResponse> WatchAsync(
        WatchEventsRequest request, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        var violations = new FieldViolations();
        var filter = EventFilter.Parse(request.Project, request.ObjectUid, violations);
        RequestChecks.CheckVersion(request.ResourceVersion, violations);
        violations.ThrowIfAny();
        var set = new WatchedSet<EventEntry>(view => view.Events, change => change.Events, filter.Matches, entry => entry.ResourceVersion);
        await foreach (var item in watches.FollowAsync(set, new(request.ResourceVersion), cancellationToken))
        {
            var response = new WatchEventsResponse { Type = item.Type, ResourceVersion = item.Position.Value };
            if (item.Entry is { } entry)
            {
                response.Event = entry.Render();
                response.Event.ResourceVersion = item.ObjectVersion.Value;
            }

            yield return response;
        }
    }

    /// <param name="Project">Null means all. Events of nodes belong to none, and are shown with each.</param>
    /// <param name="ObjectUid">Empty means all.</param>
    private sealed record EventFilter(string? Project, string ObjectUid)
    {
        public string Fingerprint => $"events|{Project ?? Projects.All}|{ObjectUid}";

        public static EventFilter Parse(string project, string objectUid, FieldViolations violations)
        {
            if (objectUid.Length > 0 && !LabelSyntax.IsDnsLabel(objectUid))
            {
                violations.Add("object_uid", $"'{Printable.Quote(objectUid)}' is not a uid.");
            }

            return new(project == Projects.All ? null : Projects.Resolve(project, violations), objectUid);
        }

        public bool Matches(EventEntry entry) =>
            (ObjectUid.Length == 0 || entry.Event.ObjectUid == ObjectUid)
            && (Project is null || entry.Event.Project.Length == 0 || entry.Event.Project == Project);
    }
}
