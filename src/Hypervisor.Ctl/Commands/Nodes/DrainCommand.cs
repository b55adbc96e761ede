using Hypervisor.Protocol.V1;

namespace Hypervisor.Ctl.Commands.Nodes;

internal sealed class DrainCommand() : SchedulingCommand(NodeScheduling.Draining, "is draining: it takes no new instances, and those it has move away as others have room; ones with local disks stay");
