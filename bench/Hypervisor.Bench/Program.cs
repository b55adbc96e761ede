using Hypervisor.Bench;
using Hypervisor.Bench.Scheduling;

// Each benchmark starts the shipped programs, measures, and prints `metric NAME VALUE UNIT`.
var benchmarks = new SortedDictionary<string, Func<Task>>(StringComparer.Ordinal)
{
    ["api"] = ApiBench.RunAsync,
    ["cli"] = CliBench.RunAsync,
    ["create"] = CreateBench.RunAsync,
    ["create-architectures"] = CreateBench.RunAllArchitecturesAsync,
    ["memory"] = MemoryBench.RunAsync,
    ["pull"] = PullBench.RunAsync,
    ["restore"] = RestoreBench.RunAsync,
    ["rootfs"] = RootFileSystemBench.RunAsync,
    ["scheduler"] = DecisionBench.RunAsync,
    ["scheduler-durable"] = DurableBench.RunAsync,
    ["store"] = StoreBench.RunAsync,
    ["vm"] = VmBench.RunAsync,
    ["watch"] = WatchBench.RunAsync,
    ["what-if"] = WhatIfBench.RunAsync,
};
if (args is not [var name] || (name != "all" && !benchmarks.ContainsKey(name)))
{
    Console.Error.WriteLine($"usage: Hypervisor.Bench all|{string.Join('|', benchmarks.Keys)}");
    return 2;
}

foreach (var (_, run) in benchmarks.Where(entry => name == "all" || name == entry.Key))
{
    Conditions.Print();
    await run();
}

return 0;
