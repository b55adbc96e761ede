using Hypervisor.Protocol.V1;

namespace Hypervisor.Ctl.Commands.Nodes;

internal sealed class UncordonCommand() : SchedulingCommand(NodeScheduling.Schedulable, "uncordoned");
