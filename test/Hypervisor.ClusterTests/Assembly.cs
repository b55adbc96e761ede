// Real components on few cores: side by side they would only make each other's deadlines tighter.
[assembly: Xunit.v3.Parallelization(Mode = Xunit.Sdk.ParallelMode.None)]
