using System.Runtime.InteropServices;

namespace Hypervisor.Server.Scheduling.Fleets;

/// <summary>
/// What a decision needs of a node once it is known to be able: one cache line, since decisions look at rows in the order in which they changed.
/// Everything else about nodes is in arrays of its own, which only a new kind of request reads.
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

    /// <summary>The fleet's clock when anything of the row last changed.</summary>
    public long Stamp;

    /// <summary>The rows that changed just after and just before this one did; none: -1.</summary>
    public int Newer;
    public int Older;

    public int Instances;
}
