using Hypervisor.Protocol;
using Hypervisor.Server.Stores.Records;

namespace Hypervisor.Server.State;

/// <summary>What is left of a deleted instance, as of one revision.</summary>
internal sealed record TombstoneEntry(InstanceId Id, TombstoneRecord Record, long ModRevision);
