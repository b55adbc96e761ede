using Hypervisor.Protocol.V1;

namespace Hypervisor.Ctl.Commands.Nodes;

internal sealed class CordonCommand() : SchedulingCommand(NodeScheduling.Cordoned, "cordoned");
