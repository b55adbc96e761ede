using Hypervisor.Protocol.V1;

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

    /// <summary>None where less than half would be left of anything: that would be another instance.</summary>
    public IReadOnlyList<Remedy> Remedies(PlacementRequest request, CandidateNode node)
    {
        var (free, asked) = (node.Free, request.Reserve);
        var less = asked.Beyond(free);
        if (less.CpuMillicores * 2 > asked.CpuMillicores || less.MemoryBytes * 2 > asked.MemoryBytes || less.DiskBytes * 2 > asked.DiskBytes)
        {
            return [];
        }

        List<(string What, string AtMost, double Share)> lacking = [];
        Add("cpu", $"{ResourceAmount.CpuText(free.CpuMillicores)} CPUs", less.CpuMillicores, asked.CpuMillicores);
        Add("memory", $"{ResourceAmount.BytesText(free.MemoryBytes)} of memory", less.MemoryBytes, asked.MemoryBytes);
        Add("disk", $"{ResourceAmount.BytesText(free.DiskBytes)} of disk", less.DiskBytes, asked.DiskBytes);
        return
        [
            new(RemedyKind.AskLess, string.Join(',', lacking.Select(lack => lack.What)), $"ask for at most {string.Join(" and ", lacking.Select(lack => lack.AtMost))}")
            {
                OnRequest = changed => changed with { Reserve = changed.Reserve - less },
                Less = less,
                Lack = lacking.Sum(lack => lack.Share),
            },
        ];

        void Add(string what, string atMost, long less, long asked)
        {
            if (less > 0)
            {
                lacking.Add((what, atMost, (double)less / asked));
            }
        }
    }

    private static Rejection Short(string what, string free, string asked) =>
        new($"has {free} of {what} free of the {asked} asked for", $"have less than the {asked} of {what} asked for");
}
