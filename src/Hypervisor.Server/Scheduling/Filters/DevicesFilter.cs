using System.Globalization;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Server.Scheduling.Filters;

/// <summary>The named devices that are asked for are free (CapacitySafe).</summary>
internal sealed class DevicesFilter : IPlacementFilter
{
    public const string FilterName = "Devices";

    public string Name => FilterName;

    public Rejection? Judge(PlacementRequest request, CandidateNode node)
    {
        if (request.Devices.IsNone)
        {
            return null;
        }

        var free = node.FreeDevices;
        foreach (var (name, asked) in request.Devices.Each)
        {
            if (asked > free[name])
            {
                return node.Devices[name] == 0 ? new($"has no {name}", $"have no {name}") : new(
                    string.Create(CultureInfo.InvariantCulture, $"has {Math.Max(0, free[name])} {name} free of the {asked} asked for"),
                    string.Create(CultureInfo.InvariantCulture, $"have fewer than {asked} {name} free"));
            }
        }

        return null;
    }

    /// <summary>As for other resources: none where less than half would be left.</summary>
    public IReadOnlyList<Remedy> Remedies(PlacementRequest request, CandidateNode node)
    {
        var (free, asked) = (node.FreeDevices, request.Devices);
        var less = asked.Beyond(free);
        if (less.Each.Any(lack => lack.Count * 2 > asked[lack.Name]))
        {
            return [];
        }

        var atMost = less.Each.Select(lack => string.Create(CultureInfo.InvariantCulture, $"{asked[lack.Name] - lack.Count} {lack.Name}"));
        return
        [
            new(RemedyKind.AskLess, string.Join(',', less.Each.Select(lack => $"devices[{lack.Name}]")), $"ask for at most {string.Join(" and ", atMost)}")
            {
                OnRequest = changed => changed with { Devices = changed.Devices - less },
                LessDevices = less,
                Lack = less.Each.Sum(lack => (double)lack.Count / asked[lack.Name]),
            },
        ];
    }
}
