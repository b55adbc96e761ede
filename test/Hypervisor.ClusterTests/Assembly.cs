// Real components on few cores: side by side they would only make each other's deadlines tighter.
[assembly: Xunit.CollectionBehavior(DisableTestParallelization = true)]
