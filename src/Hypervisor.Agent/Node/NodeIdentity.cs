using System.Text.Json.Serialization;
using Hypervisor.Protocol;

namespace Hypervisor.Agent.Node;

/// <summary>Who this node is to the control plane, and how far it has seen it get. Survives restarts.</summary>
internal sealed record NodeIdentity
{
    /// <summary>Secret. What the first registration is repeated with until it is answered; empty before it.</summary>
    public string RegistrationId { get; init; } = "";

    /// <summary>Empty until the first registration.</summary>
    public string NodeUid { get; init; } = "";

    /// <summary>Secret.</summary>
    public string Credential { get; init; } = "";

    /// <summary>CIDR the node hands out addresses from; empty until the first registration.</summary>
    public string Subnet { get; init; } = "";

    /// <summary>A restored control plane goes above both.</summary>
    public long HighestEpoch { get; init; }

    public long HighestResourceVersion { get; init; }

    [JsonIgnore]
    public NodeId Id => new(NodeUid);

    /// <summary>Without the secret.</summary>
    public override string ToString() => $"node {NodeUid}, subnet {Subnet}, epoch {HighestEpoch}, version {HighestResourceVersion}";
}

/// <summary>Where the identity is kept: a file in production, memory in tests and in the simulation.</summary>
internal interface INodeIdentityStore
{
    /// <summary>An empty identity when none was ever saved.</summary>
    /// <exception cref="InvalidDataException">It is there and cannot be trusted; the message says what to do.</exception>
    NodeIdentity Load();

    /// <summary>Durable on return: a crash leaves the old or the new one, whole.</summary>
    void Save(NodeIdentity identity);
}

[JsonSourceGenerationOptions(WriteIndented = true, PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower)]
[JsonSerializable(typeof(NodeIdentity))]
internal sealed partial class NodeIdentityJson : JsonSerializerContext;
