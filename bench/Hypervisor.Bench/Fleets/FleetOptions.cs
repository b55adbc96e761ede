using Hypervisor.Hosting.Configuration;

namespace Hypervisor.Bench.Fleets;

/// <summary>What <c>hypervisor-bench fleet</c> is asked for; without anything it is the benchmark.</summary>
internal sealed record FleetOptions
{
    public const int MaxNodes = 100_000;

    public int Nodes { get; init; } = 10_000;

    /// <summary>Null starts the shipped server for the run.</summary>
    public HostPort? Server { get; init; }

    public FleetScript Script { get; init; } = new();

    /// <summary>How long it is watched once every node is there.</summary>
    public TimeSpan Lasts { get; init; } = TimeSpan.FromSeconds(60);

    /// <summary>Begins the nodes' names.</summary>
    public string Prefix { get; init; } = "sim";
}
