namespace Hypervisor.Server.Scheduling.Filters;

/// <summary>CPU, memory and node-local storage fit into what is free (CapacitySafe).</summary>
internal sealed class ResourcesFilter : IPlacementFilter
{
    public const string FilterName = "Resources";

    public string Name => FilterName;

    public Rejection? Judge(PlacementRequest request, CandidateNode node)
    {
        var (free, asked) = (node.Free, request.Reserve);
        if (asked.FitsIn(free))
        {
            return null;
        }

        if (asked.MemoryBytes > free.MemoryBytes)
        {
            return Short("memory", ResourceAmount.BytesText(free.MemoryBytes), ResourceAmount.BytesText(asked.MemoryBytes));
        }

        return asked.CpuMillicores > free.CpuMillicores
            ? Short("CPU", ResourceAmount.CpuText(free.CpuMillicores), ResourceAmount.CpuText(asked.CpuMillicores))
            : Short("disk", ResourceAmount.BytesText(free.DiskBytes), ResourceAmount.BytesText(asked.DiskBytes));
    }

    private static Rejection Short(string what, string free, string asked) =>
        new($"has {free} of {what} free of the {asked} asked for", $"have less than the {asked} of {what} asked for");
}
