using Xunit;

namespace Hypervisor.Simulation.Engine;

/// <summary>Protects the ground the simulation stands on: one thread, one clock, the same run for the same seed.</summary>
public sealed class SimulationLoopTests
{
    [Fact]
    public void Waiting_takes_simulated_time_only()
    {
        var loop = new SimulationLoop(1);
        loop.Run(() => Task.Delay(TimeSpan.FromDays(1), loop.Outside.Clock), TimeSpan.FromDays(2));

        Assert.Equal(TimeSpan.FromDays(1).Ticks, loop.Now);
    }

    [Fact]
    public void The_same_seed_is_the_same_run_and_another_seed_another()
    {
        Assert.Equal(Interleaving(7), Interleaving(7));
        Assert.NotEqual(Interleaving(7), Interleaving(8));

        static string Interleaving(ulong seed)
        {
            var loop = new SimulationLoop(seed);
            var trace = "";
            loop.Run(
                () => Task.WhenAll(Enumerable.Range(0, 8).Select(async worker =>
                {
                    for (var round = 0; round < 4; round++)
                    {
                        await Task.Yield();
                        trace += worker;
                    }
                })),
                TimeSpan.FromSeconds(1));
            return trace;
        }
    }

    [Fact]
    public void A_killed_process_never_goes_on()
    {
        var loop = new SimulationLoop(1);
        var process = new SimulatedProcess(loop, "victim");
        var steps = 0;
        loop.Run(
            async () =>
            {
                _ = process.RunAsync(async () =>
                {
                    while (true)
                    {
                        steps++;
                        await Task.Delay(TimeSpan.FromSeconds(1), process.Clock);
                    }
                });
                await Task.Delay(TimeSpan.FromSeconds(2.5), loop.Outside.Clock);
                process.Kill();
                await Task.Delay(TimeSpan.FromSeconds(10), loop.Outside.Clock);
            },
            TimeSpan.FromMinutes(1));

        Assert.Equal(3, steps);
    }

    [Fact]
    public void A_paused_process_stands_still_while_time_goes_on_and_wakes_late()
    {
        var loop = new SimulationLoop(1);
        var process = new SimulatedProcess(loop, "sleeper");
        var woke = TimeSpan.Zero;
        loop.Run(
            async () =>
            {
                var sleeping = process.RunAsync(async () =>
                {
                    await Task.Delay(TimeSpan.FromSeconds(1), process.Clock);
                    woke = TimeSpan.FromTicks(process.Clock.GetTimestamp());
                });
                process.Pause();
                await Task.Delay(TimeSpan.FromSeconds(5), loop.Outside.Clock);
                process.Resume();
                await sleeping;
            },
            TimeSpan.FromMinutes(1));

        Assert.True(woke >= TimeSpan.FromSeconds(5), woke.ToString());
    }

    [Fact]
    public void Work_that_leaves_the_thread_is_noticed()
    {
        var loop = new SimulationLoop(1);

        var failure = Assert.Throws<SimulationException>(() => loop.Run(
            async () =>
            {
                await Task.Delay(TimeSpan.FromMilliseconds(1), loop.Outside.Clock);
                await Task.Run(() => { });
                await Task.Delay(TimeSpan.FromHours(1), loop.Outside.Clock);
            },
            TimeSpan.FromMinutes(1)));
        Assert.Contains("seed 1", failure.Message, StringComparison.Ordinal);
    }
}
