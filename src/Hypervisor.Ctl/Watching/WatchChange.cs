using Google.Protobuf;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Ctl.Watching;

/// <summary>One message of a watch, whatever it watches. <see cref="Object"/> is null for bookmarks and resyncs.</summary>
internal readonly record struct WatchChange<T>(WatchEventType Type, T? Object, long ResourceVersion, IMessage Message)
    where T : class;
