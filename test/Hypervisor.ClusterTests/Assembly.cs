// Most of a test's time is waiting for a process, a lease or a guest: two at once keep two cores busy, more would only make each other's
// deadlines tighter. A class is a collection, with a cluster of its own; what looks at the whole machine is in WholeMachine.
[assembly: Xunit.v3.Parallelization(Mode = Xunit.Sdk.ParallelMode.Collections, MaxThreads = 2)]
