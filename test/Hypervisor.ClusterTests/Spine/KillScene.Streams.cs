using System.Globalization;
using Google.Protobuf;
using Grpc.Core;
using Hypervisor.Protocol.V1;
using Hypervisor.TestCluster;
using Xunit;
using Victim = Hypervisor.ClusterTests.Spine.KillMatrix.Victim;

namespace Hypervisor.ClusterTests.Spine;

/// <content>Streams into an instance that are open while the victim is killed: each goes on, or ends soon with a reason.</content>
public sealed partial class KillScene
{
    private const string Ticking = "i=0; while :; do echo $i; i=$((i+1)); usleep 50000; done";
    private const string Marker = "beside-the-main-process";
    private const int CopiedParts = 20;
    private const int CopiedPart = 32 << 10;
    private static readonly TimeSpan CopiedPause = TimeSpan.FromMilliseconds(50);

    /// <summary>Of an undisturbed copy; the other streams have no end of their own.</summary>
    internal static TimeSpan CopyLength => CopiedPause * CopiedParts;

    private async Task StreamsLifeAsync(string name, KillPoint point)
    {
        var ctl = new CommandLine(_cluster);
        await CreateAsync(name, name, 9001, script: Ticking);
        await _cluster.InstanceAsync(name, "runs", IsRunning);
        await using var following = ctl.Start("instance", "logs", name, "--follow");
        await using var command = ctl.Start(
            "instance", "exec", "-i", name, "--", "sh", "-c", $": {Marker}; echo ready; while read line; do echo \"got $line\"; done");
        await command.UntilAsync("ready");
        await following.UntilAsync("\n");

        var copying = Task.FromResult(false);
        await WithKillAsync(
            () =>
            {
                copying = CopyAsync(name);
                return Task.CompletedTask;
            },
            point);
        await CommandSettlesAsync(command);
        await CopySettlesAsync(ctl, await copying.WaitAsync(TimeSpan.FromSeconds(30), RealTime.Clock), name);
        await FollowerSettlesAsync(ctl, following, name);
        await command.DisposeAsync();
        await RealTime.UntilAsync("the command is gone with its client", TimeSpan.FromSeconds(20), () =>
            !new Leftovers(_cluster).InstanceProcesses().Any(pid => Leftovers.CommandLine(pid).Contains(Marker, StringComparison.Ordinal)));
    }

    private static async Task CommandSettlesAsync(LiveCommand command)
    {
        try
        {
            command.Type("question\n");
        }
        catch (IOException)
        {
            // It has ended, which is looked at below.
        }

        await RealTime.UntilAsync("the command answers or has ended", TimeSpan.FromSeconds(30), () =>
            command.HasEnded || command.Output.Contains("got question", StringComparison.Ordinal));
        // Killed with its instance, it ends as commands do that are killed.
        if (command.HasEnded && await command.EndAsync() != 128 + Linux.SignalKill)
        {
            await EndedWithReasonAsync("exec", command);
        }
    }

    /// <returns>Whether the copy was acknowledged; otherwise why not was said.</returns>
    private async Task<bool> CopyAsync(string name)
    {
        using var call = _cluster.Compute.CopyTo(deadline: LocalCluster.Deadline(30));
        try
        {
            await call.RequestStream.WriteAsync(new CopyToRequest { Header = new CopyToHeader { Instance = name, Path = "/tmp/copied", Name = "copied" } });
            await call.RequestStream.WriteAsync(new CopyToRequest { Entry = new FileEntry { Kind = FileKind.File, Mode = 0x1A4, SizeBytes = CopiedParts * CopiedPart } });
            for (var part = 0; part < CopiedParts; part++)
            {
                await call.RequestStream.WriteAsync(new CopyToRequest { Data = ByteString.CopyFrom(new byte[CopiedPart]) });
                await Task.Delay(CopiedPause, RealTime.Clock);
            }

            await call.RequestStream.CompleteAsync();
            return (await call).Bytes == CopiedParts * CopiedPart;
        }
        catch (Exception failure) when (failure is RpcException or InvalidOperationException or IOException)
        {
            // Whatever writing into a broken stream throws, its answer says why.
            var answer = await Assert.ThrowsAsync<RpcException>(async () => await call);
            Assert.NotEqual(StatusCode.DeadlineExceeded, answer.StatusCode);
            Assert.NotEqual("", answer.Status.Detail);
            return false;
        }
    }

    private async Task CopySettlesAsync(CommandLine ctl, bool acknowledged, string name)
    {
        var instance = await _cluster.InstanceAsync(name, "is what it was, or has failed with its shim", instance =>
            IsRunning(instance) || (_victim is Victim.Shim or Victim.SharedShim && HasFailed(instance)));
        if (!IsRunning(instance))
        {
            return;
        }

        // All of it or nothing, and nothing under any other name.
        var listing = "";
        await RealTime.UntilAsync("the copy is whole or gone", TimeSpan.FromSeconds(20), async () =>
            (await ctl.TryRunAsync("instance", "exec", name, "--", "sh", "-c", "ls -A /tmp; wc -c < /tmp/copied 2> /dev/null || echo none")) is var (exitCode, output, _)
            && exitCode == 0 && (listing = output) is "none\n" || listing == $"copied\n{CopiedParts * CopiedPart}\n");
        Assert.True(!acknowledged || listing != "none\n", "what was acknowledged is there");
    }

    /// <summary>Each line once and in order, to the last that the log has; unless the follower has ended, with a reason.</summary>
    private async Task FollowerSettlesAsync(CommandLine ctl, LiveCommand following, string name)
    {
        var last = "";
        await RealTime.UntilAsync("the log can be read", TimeSpan.FromSeconds(30), async () =>
            (await ctl.TryRunAsync("instance", "logs", name, "--tail", "1")) is var (exitCode, output, _) && exitCode == 0 && (last = output.Trim()).Length > 0);
        await RealTime.UntilAsync($"the follower reaches {last}, or has ended", TimeSpan.FromSeconds(30), () =>
            following.HasEnded || following.Output.Contains($"\n{last}\n", StringComparison.Ordinal));
        if (following.HasEnded)
        {
            await EndedWithReasonAsync("logs", following);
        }

        var lines = following.Output[..(following.Output.LastIndexOf('\n') + 1)].Split('\n', StringSplitOptions.RemoveEmptyEntries);

        // A node that lost an instance with its shim, and does not know how it ended, starts it once more as after a power cut.
        var again = _victim is Victim.Shim or Victim.SharedShim ? Array.IndexOf(lines, "0", 1) : -1;
        var first = again < 0 ? lines.Length : again;
        Assert.Equal(
            Enumerable.Range(0, first).Concat(Enumerable.Range(0, lines.Length - first)).Select(number => number.ToString(CultureInfo.InvariantCulture)),
            lines);
    }

    private static async Task EndedWithReasonAsync(string what, LiveCommand command)
    {
        var exitCode = await command.EndAsync();
        Assert.True(exitCode != 0 && command.Error.Contains("error: ", StringComparison.Ordinal), $"{what} ended with {exitCode}: {command.Error}");
    }
}
