using Hypervisor.Ctl.Commands.Instances;
using Hypervisor.Ctl.Errors;
using Hypervisor.Protocol.V1;
using Xunit;

namespace Hypervisor.Tests.Ctl.Commands;

/// <summary>Protects: the short forms of affinity, spread and tolerations mean what they say, and a typing error never becomes a wider one.</summary>
public sealed class PlacementFlagTests
{
    [Theory]
    [InlineData("app=db", "app=db", "")]
    [InlineData("app=db@zone", "app=db", "zone")]
    [InlineData("app=db,tier in (a,b)@example.com/rack", "app=db,tier in (a,b)", "example.com/rack")]
    [InlineData("!app@node", "!app", "node")]
    public void A_term_is_a_selector_and_perhaps_a_place(string text, string selector, string topology)
    {
        Assert.Equal(new AffinityTerm { Selector = selector, Topology = topology }, AffinityFlag.Parse("--affinity", preferred: false, text));
        Assert.Equal(
            new AffinityTerm { Selector = selector, Topology = topology, Preferred = true }, AffinityFlag.Parse("--preferred-affinity", preferred: true, text));
    }

    [Theory]
    [InlineData("")]
    [InlineData(" ")]
    [InlineData("@zone")]
    [InlineData("app=db@")]
    [InlineData("app=db@zone@node")]
    public void A_term_without_selector_or_place_is_refused_with_its_flag(string text)
    {
        var error = Assert.Throws<CtlException>(() => AffinityFlag.Parse("--anti-affinity", preferred: false, text));

        Assert.Equal((ExitCode.Usage, $"--anti-affinity: '{text}' does not say which instances."), (error.ExitCode, error.Message));
        Assert.Contains("--anti-affinity app=web@zone", error.Hint, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("app=web", "app=web", "", 0)]
    [InlineData("app=web@node", "app=web", "node", 0)]
    [InlineData("app=web:3", "app=web", "", 3)]
    [InlineData("app in (a,b)@example.com/rack:2", "app in (a,b)", "example.com/rack", 2)]
    public void A_spread_may_carry_a_place_and_a_skew(string text, string selector, string topology, int skew) => Assert.Equal(
        new SpreadConstraint { Selector = selector, Topology = topology, MaxSkew = skew, Preferred = true }, SpreadFlag.Parse("--preferred-spread", preferred: true, text));

    [Theory]
    [InlineData("", "'' does not say which instances.")]
    [InlineData(":2", "':2' does not say which instances.")]
    [InlineData("app=web@:2", "'app=web@:2' does not say which instances.")]
    [InlineData("app=web:", "'' is no number of instances")]
    [InlineData("app=web:0", "'0' is no number of instances")]
    [InlineData("app=web:-1", "'-1' is no number of instances")]
    [InlineData("app=web:2@zone", "'2@zone' is no number of instances")]
    [InlineData("app=web:99999999999", "'99999999999' is no number of instances")]
    public void Other_spreads_are_refused(string text, string complaint)
    {
        var error = Assert.Throws<CtlException>(() => SpreadFlag.Parse("--spread", preferred: false, text));

        Assert.StartsWith($"--spread: {complaint}", error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("gpu", "gpu", "", TaintEffect.Unspecified)]
    [InlineData("gpu=a100", "gpu", "a100", TaintEffect.Unspecified)]
    [InlineData("gpu:no-execute", "gpu", "", TaintEffect.NoExecute)]
    [InlineData("example.com/gpu=a100:Prefer-No-Schedule", "example.com/gpu", "a100", TaintEffect.PreferNoSchedule)]
    [InlineData("*", "", "", TaintEffect.Unspecified)]
    [InlineData("*:no-schedule", "", "", TaintEffect.NoSchedule)]
    [InlineData(":no-schedule", "", "", TaintEffect.NoSchedule)]
    public void A_toleration_leaves_out_what_it_does_not_care_for(string text, string key, string value, TaintEffect effect) =>
        Assert.Equal(new Toleration { Key = key, Value = value, Effect = effect }, TolerationFlag.Parse(text));

    [Theory]
    [InlineData("")]
    [InlineData("=")]
    [InlineData("=a100")]
    [InlineData("*=a100")]
    [InlineData("gpu=")]
    [InlineData("gpu=:no-schedule")]
    [InlineData(":")]
    [InlineData("gpu:")]
    [InlineData("gpu:fast")]
    [InlineData("gpu:no-schedule:no-execute")]
    public void Other_tolerations_are_refused(string text)
    {
        var error = Assert.Throws<CtlException>(() => TolerationFlag.Parse(text));

        Assert.StartsWith("--toleration: '", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_refusal_names_the_flags_that_fill_the_field()
    {
        await using var server = await FakeServer.StartAsync();
        var run = new CtlRun();

        Assert.Equal(2, await run.RunAsync(server, "instance", "create", "web", "--toleration", "gpu:fast"));

        Assert.Contains("--toleration: 'fast' is not one of no-schedule, prefer-no-schedule, no-execute.", run.Error, StringComparison.Ordinal);
        Assert.Empty(server.Compute.Requests);
        Assert.Equal("--affinity, --preferred-affinity", FieldFlags.FlagOf("spec.constraints.affinity[0].selector"));
        Assert.Equal("--device", FieldFlags.FlagOf("spec.template.spec.resources.devices[gpu]"));
        Assert.Equal("--anti-affinity, --preferred-anti-affinity", FieldFlags.FlagOf("instance.spec.constraints.anti_affinity[1]"));
    }
}
