using Hypervisor.Server;
using Hypervisor.Server.Controllers;
using Microsoft.Extensions.Logging.Abstractions;
using Xunit;

namespace Hypervisor.Tests.Server.Controllers;

/// <summary>Protects: controllers run exactly while this replica leads, and a failed one ends the term rather than the server.</summary>
public sealed class LeadershipHostTests
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Controllers_run_while_leading_and_resigning_stops_them()
    {
        await using var plane = await ControlPlane.StartAsync(Token);
        var controller = new Recorder();
        var current = new CurrentTerm();
        using var stopping = CancellationTokenSource.CreateLinkedTokenSource(Token);
        var running = Host(plane, current, controller).RunAsync(stopping.Token);

        var term = await controller.Started.WaitAsync(Token);
        Assert.Same(term, current.Value);
        Assert.Equal("replica", (await plane.ViewAsync(Token)).Leader!.Candidate);
        Assert.True(plane.State.Revision >= term.Guard.Revision);

        await stopping.CancelAsync();
        await running;
        Assert.Null(current.Value);
        Assert.Null((await plane.ViewAsync(Token)).Leader);
    }

    [Fact]
    public async Task A_controller_that_fails_ends_the_term_and_a_new_one_begins()
    {
        await using var plane = await ControlPlane.StartAsync(Token);
        var controller = new Recorder { FailOnce = true };
        using var stopping = CancellationTokenSource.CreateLinkedTokenSource(Token);
        var running = Host(plane, new(), controller).RunAsync(stopping.Token);

        var first = await controller.Failed.WaitAsync(Token);
        await plane.Time.AdvanceUntilAsync(controller.Started, Limits.Control.CampaignRetry / 4);

        Assert.NotEqual(first.Guard, (await controller.Started).Guard);
        await stopping.CancelAsync();
        await running;
    }

    private static LeadershipHost Host(ControlPlane plane, CurrentTerm current, IController controller) => new(
        plane.Store, plane.State, current, [controller], "replica", plane.Time, NullLogger<LeadershipHost>.Instance);

    private sealed class Recorder : IController
    {
        private readonly TaskCompletionSource<LeaderTerm> _started = new(TaskCreationOptions.RunContinuationsAsynchronously);
        private readonly TaskCompletionSource<LeaderTerm> _failed = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public bool FailOnce { get; set; }

        public Task<LeaderTerm> Started => _started.Task;

        public Task<LeaderTerm> Failed => _failed.Task;

        public string Name => "recorder";

        public async Task RunAsync(LeaderTerm term, CancellationToken cancellationToken)
        {
            if (FailOnce)
            {
                FailOnce = false;
                _failed.SetResult(term);
                throw new InvalidOperationException("planted");
            }

            _started.TrySetResult(term);
            var ended = new TaskCompletionSource();
            await using var registration = cancellationToken.Register(() => ended.TrySetCanceled(cancellationToken));
            await ended.Task;
        }
    }
}
