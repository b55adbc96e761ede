namespace Hypervisor.Server;

internal static partial class Limits
{
    /// <summary>Bounds of REST requests; what the methods themselves take is bounded where gRPC's is.</summary>
    internal static class Rest
    {
        /// <summary>As gRPC's: the same requests come in JSON, which is some three times as long.</summary>
        public const int BodyBytes = 3 * Server.ReceivedMessageBytes;

        /// <summary>Our deepest request nests eight deep; protobuf's parser stops at 100.</summary>
        public const int JsonDepth = 64;

        /// <summary>A list has some ten fields, some of which repeat.</summary>
        public const int QueryParameters = 128;

        /// <summary>A command may have 1,024 words; Kestrel takes 8 KiB of request line before that.</summary>
        public const int SocketQueryParameters = 2048;
    }

    /// <summary>Bounds of WebSockets into instances; how many there are is bounded by the agents, as for gRPC.</summary>
    internal static class Sockets
    {
        /// <summary>Input in one frame, without its channel: what an agent takes at once.</summary>
        public const int InputBytes = 64 * 1024;

        /// <summary>A text frame of a client: three fields.</summary>
        public const int ControlBytes = 1024;

        /// <summary>Proxies give up on connections that are silent for a minute.</summary>
        public static readonly TimeSpan Ping = TimeSpan.FromSeconds(20);

        /// <summary>A browser answers by itself, also for a page that is busy; one that does not is gone, or its page takes nothing.</summary>
        public static readonly TimeSpan Pong = TimeSpan.FromSeconds(60);

        /// <summary>For a client to take the last words and answer our close.</summary>
        public static readonly TimeSpan Farewell = TimeSpan.FromSeconds(5);
    }
}
