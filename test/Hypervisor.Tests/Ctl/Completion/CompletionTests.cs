using System.Diagnostics;
using Hypervisor.Ctl.Completion;
using Hypervisor.Protocol.V1;
using Xunit;

namespace Hypervisor.Tests.Ctl.Completion;

/// <summary>Protects: what the shell offers after Tab.</summary>
public sealed class CompletionTests
{
    [Theory]
    [InlineData("ins", "instance")]
    [InlineData("instance sta", "start stats")]
    [InlineData("instance list -o ", "table wide json yaml name")]
    [InlineData("instance create --stra", "--strategy")]
    [InlineData("instance create --strategy ", "binpack spread balanced")]
    [InlineData("instance create --anti-affinity app=web@", "app=web@node app=web@zone app=web@region")]
    [InlineData("instance create --spread app=web@z", "app=web@zone")]
    [InlineData("instance create --toleration gpu=a:no-", "gpu=a:no-schedule gpu=a:no-execute")]
    [InlineData("node taint n1 gpu:pre", "gpu:prefer-no-schedule")]
    [InlineData("--ser", "--server")]
    [InlineData("completion ", "bash zsh fish")]
    [InlineData("image import ", ":files")]
    public async Task Words_of_the_command_line(string line, string expected)
    {
        var run = new CtlRun();

        Assert.Equal(0, await run.RunAsync(null, ["__complete", "--", .. line.Split(' ')]));

        Assert.Equal(expected.Split(' '), run.Out.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(l => l.Split('\t')[0]));
    }

    [Fact]
    public async Task Names_come_from_the_server_and_hostile_ones_are_left_out()
    {
        await using var server = await FakeServer.StartAsync();
        server.Compute.OnList = _ => new()
        {
            Instances = { Samples.Instance("web", InstanceState.Running), Samples.Instance("we$(id)", InstanceState.Running), Samples.Instance("db", InstanceState.Running) },
        };
        var run = new CtlRun();

        Assert.Equal(0, await run.RunAsync(server, "__complete", "--", "instance", "stop", "we"));

        Assert.Equal("web\tinstance\n", run.Out);
    }

    [Fact]
    public async Task A_server_out_of_reach_is_silence()
    {
        var run = new CtlRun { Variables = { ["HYPERVISOR_SERVER"] = "127.0.0.1:1" } };

        Assert.Equal(0, await run.RunAsync(null, "__complete", "--", "instance", "stop", ""));

        Assert.Equal(("", ""), (run.Out, run.Error));
    }

    [Fact]
    public async Task Bash_completes_with_the_script()
    {
        // The program itself is replaced by a shell function that answers as it would.
        var script = Scripts.For(Shell.Bash) + """

            hypervisor-ctl() { [[ "$*" == "__complete -- image delete busybox:" ]] && printf 'busybox:1\timage\nbusybox:latest\timage\nother\timage\n'; }
            COMP_LINE="hypervisor-ctl image delete busybox:"; COMP_POINT=${#COMP_LINE}
            COMP_WORDS=(hypervisor-ctl image delete busybox :); COMP_CWORD=4
            _hypervisor_ctl
            printf '%s\n' "${COMPREPLY[@]}"
            """;

        Assert.Equal((0, "1\nlatest\n"), await ShellAsync("bash", "--norc", "-c", script));
    }

    [Theory]
    [InlineData("=@:", "zone")]
    [InlineData("=:", "web@zone")]
    public async Task Bash_is_given_what_follows_its_own_last_break(string breaks, string expected)
    {
        var script = Scripts.For(Shell.Bash) + $$"""

            hypervisor-ctl() { printf 'app=web@zone\t\n'; }
            COMP_WORDBREAKS="{{breaks}}"; COMP_LINE="hypervisor-ctl instance create --spread app=web@z"; COMP_POINT=${#COMP_LINE}
            COMP_WORDS=(hypervisor-ctl)
            _hypervisor_ctl
            printf '%s\n' "${COMPREPLY[@]}"
            """;

        Assert.Equal((0, $"{expected}\n"), await ShellAsync("bash", "--norc", "-c", script));
    }

    [Fact]
    public async Task Fish_completes_with_the_script()
    {
        var script = Scripts.For(Shell.Fish) + """

            function hypervisor-ctl; test "$argv" = "__complete -- image delete bus"; and printf 'busybox:1\timage\n'; end
            complete -C 'hypervisor-ctl image delete bus'
            """;

        Assert.Equal((0, "busybox:1\timage\n"), await ShellAsync("fish", "--no-config", "-c", script));
    }

    [Theory]
    [InlineData("bash", "-n")]
    [InlineData("zsh", "-n")]
    [InlineData("fish", "--no-execute")]
    public async Task Each_shell_reads_its_script(string shell, string check)
    {
        var run = new CtlRun();
        Assert.Equal(0, await run.RunAsync(null, "completion", shell));
        Assert.Contains("__complete --", run.Out, StringComparison.Ordinal);

        using var folder = new ScratchFolder();
        var file = Path.Combine(folder.Path, "completion");
        await File.WriteAllTextAsync(file, run.Out, TestContext.Current.CancellationToken);

        Assert.Equal((0, ""), await ShellAsync(shell, check, file));
    }

    private static async Task<(int ExitCode, string Output)> ShellAsync(string shell, params string[] arguments)
    {
        using var process = Process.Start(new ProcessStartInfo(shell, arguments) { RedirectStandardOutput = true })!;
        var output = await process.StandardOutput.ReadToEndAsync(TestContext.Current.CancellationToken);
        await process.WaitForExitAsync(TestContext.Current.CancellationToken);
        return (process.ExitCode, output);
    }
}
