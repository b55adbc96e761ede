using Hypervisor.Protocol.V1;

namespace Hypervisor.Ctl.Commands.Nodes;

internal sealed class DrainCommand() : SchedulingCommand(NodeScheduling.Draining, "is draining: it takes no new instances, and keeps those it has until you delete them");
