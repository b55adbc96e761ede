using Hypervisor.Bench;

return await BenchCommand.RunAsync(args, Console.Out, Console.Error);
