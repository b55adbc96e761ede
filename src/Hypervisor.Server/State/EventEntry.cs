using System.Globalization;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Server.State;

/// <summary>All happenings of one kind to one object, as of one revision. Immutable: to write, clone the event.</summary>
/// <param name="Event">Without its resource_version.</param>
internal sealed record EventEntry(Event Event, ResourceVersion ResourceVersion)
{
    /// <summary>By when it last happened: lists are in this order, and the first goes when there are too many.</summary>
    public string ListKey { get; } = string.Create(
        CultureInfo.InvariantCulture, $"{Event.LastAt.ToDateTimeOffset().UtcTicks:D19}/{Event.ObjectUid}/{Event.Reason}");

    public Event Render()
    {
        var shown = Event.Clone();
        shown.ResourceVersion = ResourceVersion.Value;
        return shown;
    }
}
