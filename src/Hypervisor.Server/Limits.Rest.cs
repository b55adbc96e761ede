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
    }
}
