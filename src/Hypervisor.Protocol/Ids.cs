namespace Hypervisor.Protocol;

/// <summary>The uid of an instance: lower-case UUID text, never reused.</summary>
public readonly record struct InstanceId(string Value)
{
    public override string ToString() => Value;
}

/// <summary>The uid of a node: lower-case UUID text, never reused.</summary>
public readonly record struct NodeId(string Value)
{
    public override string ToString() => Value;
}
