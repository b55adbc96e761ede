using System.CommandLine;
using Grpc.Core;
using Hypervisor.Bench.Fleets;
using Hypervisor.Bench.Replays;
using Hypervisor.Bench.Scheduling;
using Hypervisor.Hosting.Configuration;

namespace Hypervisor.Bench;

/// <summary>
/// <c>hypervisor-bench NAME</c>: a benchmark, which starts the shipped programs, measures, and prints <c>metric NAME VALUE UNIT</c>. Some are tools
/// besides, by their options.
/// </summary>
internal static class BenchCommand
{
    private static readonly SortedDictionary<string, Func<Task>> _benchmarks = new(StringComparer.Ordinal)
    {
        ["api"] = ApiBench.RunAsync,
        ["cli"] = CliBench.RunAsync,
        ["create"] = CreateBench.RunAsync,
        ["create-architectures"] = CreateBench.RunAllArchitecturesAsync,
        ["fleet"] = () => FleetRun.RunAsync(new(), CancellationToken.None),
        ["memory"] = MemoryBench.RunAsync,
        ["pull"] = PullBench.RunAsync,
        ["restore"] = RestoreBench.RunAsync,
        ["rootfs"] = RootFileSystemBench.RunAsync,
        ["scheduler"] = async () =>
        {
            await DecisionBench.RunAsync();
            await FillBench.RunAsync();
        },
        ["scheduler-durable"] = DurableBench.RunAsync,
        ["scheduler-endtoend"] = EndToEndBench.RunAsync,
        ["store"] = StoreBench.RunAsync,
        ["vm"] = VmBench.RunAsync,
        ["watch"] = WatchBench.RunAsync,
        ["what-if"] = WhatIfBench.RunAsync,
    };

    /// <returns>0 done, 1 failed, 2 for bad usage.</returns>
    public static async Task<int> RunAsync(IReadOnlyList<string> arguments, TextWriter output, TextWriter error)
    {
        var parsed = Root().Parse(arguments);
        try
        {
            var code = await parsed.InvokeAsync(new() { EnableDefaultExceptionHandler = false, Output = output, Error = error });
            return parsed.Errors.Count > 0 ? 2 : code;
        }
        catch (BadUsageException exception)
        {
            error.WriteLine(exception.Message);
            return 2;
        }
        catch (ConfigurationException exception)
        {
            error.WriteLine(exception.Message);
            return 2;
        }
        catch (RpcException exception)
        {
            error.WriteLine(exception.Status.Detail);
            return 1;
        }
        catch (TimeoutException exception)
        {
            error.WriteLine(exception.Message);
            return 1;
        }
    }

    public static RootCommand Root()
    {
        var root = new RootCommand("Benchmarks of Zixiao, and its fleet simulator.");
        var all = new Command("all", "Every benchmark but c2m, one after the other.");
        all.SetAction(async (_, _) =>
        {
            foreach (var benchmark in _benchmarks.Values)
            {
                await RunOneAsync(benchmark);
            }
        });
        root.Add(all);
        root.Add(C2mBench.Build());
        root.Add(FleetCommand.Build());
        root.Add(ReplayCommand.Build());
        foreach (var (name, run) in _benchmarks.Where(entry => root.Subcommands.All(known => known.Name != entry.Key)))
        {
            var command = new Command(name, $"The benchmark {name}.");
            command.SetAction((_, _) => RunOneAsync(run));
            root.Add(command);
        }

        return root;
    }

    public static Task RunOneAsync(Func<Task> benchmark)
    {
        Conditions.Print();
        return benchmark();
    }
}
