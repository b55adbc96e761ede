using Hypervisor.Ctl.Commands.Instances;
using Hypervisor.Ctl.Errors;
using Hypervisor.Protocol.V1;
using Xunit;

namespace Hypervisor.Tests.Ctl.Commands;

/// <summary>Protects: the short words for restart policies and health checks mean what they say, and nothing else is taken.</summary>
public sealed class PolicyFlagTests
{
    [Theory]
    [InlineData("never", RestartPolicy.Never, 0)]
    [InlineData("always", RestartPolicy.Always, 0)]
    [InlineData("on-failure", RestartPolicy.OnFailure, 0)]
    [InlineData("on-failure:5", RestartPolicy.OnFailure, 5)]
    public void A_policy_may_carry_the_most_restarts(string text, RestartPolicy policy, int most) =>
        Assert.Equal(new RestartSpec { Policy = policy, MaxRestarts = most }, RestartFlag.Parse(text));

    [Theory]
    [InlineData("")]
    [InlineData("sometimes")]
    [InlineData("on-failure:")]
    [InlineData("on-failure:0")]
    [InlineData("on-failure:-1")]
    [InlineData("always:x")]
    public void Other_words_are_refused(string text) => Assert.Throws<CtlException>(() => RestartFlag.Parse(text));

    [Theory]
    [InlineData("exec:true", "true")]
    [InlineData("exec: pg_isready  -q ", "pg_isready|-q")]
    [InlineData("exec:sh -c 'test -e /ready && exit 0'", "sh|-c|test -e /ready && exit 0")]
    [InlineData("""exec:a "b \"c\" \d" '' e\ f"g"h""", """a|b "c" \d||e fgh""")]
    public void A_command_is_split_as_a_shell_would(string text, string words) =>
        Assert.Equal(new HealthCheck { Exec = new ExecCheck { Command = { words.Split('|') } } }, Parse(text));

    [Fact]
    public void A_check_is_a_port_or_a_page()
    {
        Assert.Equal(new HealthCheck { Tcp = new TcpCheck { Port = 5432 } }, Parse("tcp:5432"));
        Assert.Equal(new HealthCheck { Http = new HttpCheck { Port = 80 } }, Parse("http:80"));
        Assert.Equal(new HealthCheck { Http = new HttpCheck { Port = 80, Path = "/a:b?c=/d" } }, Parse("http:80/a:b?c=/d"));
    }

    [Theory]
    [InlineData("")]
    [InlineData("80")]
    [InlineData("tcp")]
    [InlineData("tcp:")]
    [InlineData("tcp:x")]
    [InlineData("tcp:80/x")]
    [InlineData("http:/x")]
    [InlineData("/http:80")]
    [InlineData("https:443")]
    [InlineData("exec:")]
    [InlineData("exec: ")]
    [InlineData("exec:sh -c 'open")]
    [InlineData("exec:a\\")]
    public void Other_checks_are_refused(string text) => Assert.Throws<CtlException>(() => Parse(text));

    private static HealthCheck Parse(string text)
    {
        var check = new HealthCheck();
        HealthFlag.Apply(check, text);
        return check;
    }
}
