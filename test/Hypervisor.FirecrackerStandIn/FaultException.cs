namespace Hypervisor.FirecrackerStandIn;

/// <summary>Answered as 400 with the message as fault_message.</summary>
internal sealed class FaultException(string message) : Exception(message);
