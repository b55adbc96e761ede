using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Guests;
using Hypervisor.Protocol.V1;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Time.Testing;
using Xunit;

namespace Hypervisor.Tests.Agent.Guests;

/// <summary>Protects: a node never offers an accelerator with which no guest came to user space.</summary>
public sealed class AcceleratorProbeTests : IDisposable
{
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("accelerator-");
    private readonly FakeTimeProvider _time = new();
    private readonly Trial _trial = new();

    public void Dispose() => _folder.Delete(recursive: true);

    [Theory]
    [InlineData(AcceleratorChoice.Auto, "kvm tcg", Accelerator.Kvm, "kvm")]
    [InlineData(AcceleratorChoice.Auto, "tcg", Accelerator.Tcg, "kvm tcg")]
    [InlineData(AcceleratorChoice.Auto, "", Accelerator.None, "kvm tcg")]
    [InlineData(AcceleratorChoice.Kvm, "kvm tcg", Accelerator.Kvm, "kvm")]
    [InlineData(AcceleratorChoice.Kvm, "tcg", Accelerator.None, "kvm")]
    [InlineData(AcceleratorChoice.Tcg, "kvm tcg", Accelerator.Tcg, "tcg")]
    [InlineData(AcceleratorChoice.None, "kvm tcg", Accelerator.None, "")]
    internal async Task What_works_and_what_is_allowed_decide(AcceleratorChoice choice, string works, Accelerator expected, string tried)
    {
        _trial.Works = works;
        var finding = await Probe(choice).FindAsync(default);

        Assert.Equal(expected, finding.Accelerator);
        Assert.Equal(tried, string.Join(' ', _trial.Tried));
        Assert.Equal(expected == Accelerator.Kvm || (choice == AcceleratorChoice.Tcg && expected == Accelerator.Tcg), finding.Message.Length == 0);
    }

    [Fact]
    public async Task It_is_found_out_once_and_again_when_something_changed()
    {
        _trial.Works = "tcg";
        await Probe(AcceleratorChoice.Auto).FindAsync(default);
        var cached = await Probe(AcceleratorChoice.Auto).FindAsync(default);
        Assert.Equal((Accelerator.Tcg, 2), (cached.Accelerator, _trial.Tried.Count));
        Assert.Contains("KVM does not work: it spins", cached.Message, StringComparison.Ordinal);

        _trial.Inputs = "another boot";
        await Probe(AcceleratorChoice.Auto).FindAsync(default);
        Assert.Equal(4, _trial.Tried.Count);
    }

    [Fact]
    public async Task That_nothing_works_is_tried_again_after_a_while()
    {
        using var probe = Probe(AcceleratorChoice.Auto);
        await probe.FindAsync(default);
        await probe.FindAsync(default);
        Assert.Equal(2, _trial.Tried.Count);

        _trial.Works = "tcg";
        _time.Advance(GuestLimits.TrialInterval);
        Assert.Equal(Accelerator.Tcg, (await probe.FindAsync(default)).Accelerator);
        Assert.Equal(Accelerator.Tcg, probe.Known!.Accelerator);
    }

    [Fact]
    public async Task That_KVM_does_not_work_is_doubted_once_by_each_agent()
    {
        _trial.Works = "tcg";
        using var first = Probe(AcceleratorChoice.Auto);
        await first.FindAsync(default);
        for (var again = 0; again < 3; again++)
        {
            _time.Advance(GuestLimits.TrialInterval);
            Assert.Equal(Accelerator.Tcg, (await first.FindAsync(default)).Accelerator);
        }

        Assert.Equal("kvm tcg kvm tcg", string.Join(' ', _trial.Tried));

        using var second = Probe(AcceleratorChoice.Auto);
        Assert.Equal(Accelerator.Tcg, (await second.FindAsync(default)).Accelerator);
        Assert.Equal(4, _trial.Tried.Count);
        _trial.Works = "kvm tcg";
        _time.Advance(GuestLimits.KvmAgain);
        Assert.Equal(Accelerator.Kvm, (await second.FindAsync(default)).Accelerator);
        using var third = Probe(AcceleratorChoice.Auto);
        Assert.Equal(Accelerator.Kvm, (await third.FindAsync(default)).Accelerator);
        Assert.Equal(5, _trial.Tried.Count);
    }

    [Fact]
    public async Task What_ran_a_guest_before_is_not_given_up_for_a_trial_that_failed_while_KVM_was_doubted()
    {
        _trial.Works = "tcg";
        using var probe = Probe(AcceleratorChoice.Auto);
        await probe.FindAsync(default);
        _trial.Works = "";
        _time.Advance(GuestLimits.TrialInterval);

        Assert.Equal(Accelerator.Tcg, (await probe.FindAsync(default)).Accelerator);
        Assert.Equal(4, _trial.Tried.Count);
    }

    [Theory]
    [InlineData(AcceleratorChoice.Auto)]
    [InlineData(AcceleratorChoice.None)]
    internal async Task What_an_earlier_agent_left_of_a_trial_is_ended_also_when_nothing_is_tried(AcceleratorChoice choice)
    {
        _trial.Works = "tcg";
        await Probe(choice).FindAsync(default);
        var tried = _trial.Tried.Count;
        using var next = Probe(choice);
        _trial.RefusesToEnd = true;
        await next.FindAsync(default);
        Assert.False(_trial.IsCleared);

        // As long as it is there.
        _trial.RefusesToEnd = false;
        await next.FindAsync(default);
        Assert.Equal((true, tried), (_trial.IsCleared, _trial.Tried.Count));
        _trial.RefusesToEnd = true;
        await next.FindAsync(default);
        Assert.True(_trial.IsCleared);
    }

    [Fact]
    public async Task A_cache_that_cannot_be_read_is_found_out_anew()
    {
        await File.WriteAllTextAsync(Path.Combine(_folder.FullName, "accelerator.json"), "{");
        _trial.Works = "kvm";
        Assert.Equal(Accelerator.Kvm, (await Probe(AcceleratorChoice.Auto).FindAsync(default)).Accelerator);
    }

    private AcceleratorProbe Probe(AcceleratorChoice choice) =>
        new(choice, Path.Combine(_folder.FullName, "accelerator.json"), _trial, _time, NullLogger<AcceleratorProbe>.Instance);

    private sealed class Trial : IGuestTrial
    {
        public string Works { get; set; } = "";

        public string Inputs { get; set; } = "a boot";

        public List<string> Tried { get; } = [];

        public bool IsCleared { get; private set; }

        public bool RefusesToEnd { get; set; }

        public Task<string> InputsAsync(CancellationToken cancellationToken) => Task.FromResult(Inputs);

        public Task<string?> BootAsync(Accelerator accelerator, CancellationToken cancellationToken)
        {
            var name = accelerator == Accelerator.Kvm ? "kvm" : "tcg";
            Tried.Add(name);
            return Task.FromResult(Works.Contains(name, StringComparison.Ordinal) ? null : "it spins");
        }

        public Task ClearAsync(CancellationToken cancellationToken)
        {
            IsCleared = !RefusesToEnd;
            return RefusesToEnd ? throw new DriverException("ProcessUnkillable", "it does not end", permanent: false) : Task.CompletedTask;
        }
    }
}
