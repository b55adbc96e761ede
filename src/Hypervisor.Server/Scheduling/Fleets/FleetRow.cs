using System.Runtime.InteropServices;

namespace Hypervisor.Server.Scheduling.Fleets;

/// <summary>
/// What a decision needs of a node once it is known to be able, side by side, since decisions look at rows in the order in which they changed. Everything
/// else about nodes is in arrays of its own: when they changed in <see cref="RowOrder"/>, what only a new kind of request reads in the fleet.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
internal struct FleetRow
{
    /// <summary>Of what may be placed: thousandths of a CPU, bytes, bytes. Below zero where the node has shrunk under what it holds.</summary>
    public long FreeCpu;
    public long FreeMemory;
    public long FreeDisk;

    /// <summary>One by what may be placed in all; 0 where that is nothing.</summary>
    public double ShareOfCpu;
    public double ShareOfMemory;

    public int Instances;
}
