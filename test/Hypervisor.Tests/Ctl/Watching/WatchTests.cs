using Hypervisor.Protocol.V1;
using Xunit;

namespace Hypervisor.Tests.Ctl.Watching;

/// <summary>Protects: a watch shows every change once, resumes where it stopped, and survives a resync without repeating itself.</summary>
public sealed class WatchTests
{
    [Fact]
    public async Task A_resync_prints_only_what_differs_and_a_broken_stream_resumes()
    {
        await using var server = await FakeServer.StartAsync();
        var asked = new List<long>();
        server.Compute.OnWatch = async (request, write, token) =>
        {
            asked.Add(request.ResourceVersion);
            switch (asked.Count)
            {
                case 1:
                    await write(Samples.Change(WatchEventType.Added, Samples.Instance("web", InstanceState.Starting, version: 10)));
                    await write(Samples.Change(WatchEventType.Added, Samples.Instance("db", InstanceState.Running, version: 9)));
                    await write(Samples.Bookmark(20));
                    await write(Samples.Change(WatchEventType.Modified, Samples.Instance("web", InstanceState.Running, version: 21)));
                    await write(new() { Type = WatchEventType.Resync });
                    break;
                case 2:
                    // db vanished while nobody watched; web is as it was.
                    await write(Samples.Change(WatchEventType.Added, Samples.Instance("web", InstanceState.Running, version: 21)));
                    await write(Samples.Bookmark(30));
                    await write(Samples.Change(WatchEventType.Added, Samples.Instance("new", InstanceState.Running, version: 31)));
                    await write(Samples.Change(WatchEventType.Modified, Samples.Instance("web", InstanceState.Stopped, version: 32)));
                    break;
                default:
                    // The stream broke after version 32: 31 is complete, 32 may not be, so it comes again.
                    await write(Samples.Change(WatchEventType.Modified, Samples.Instance("web", InstanceState.Stopped, version: 32)));
                    throw new Grpc.Core.RpcException(new(Grpc.Core.StatusCode.PermissionDenied, "enough"));
            }
        };
        var run = new CtlRun { Clock = new ImpatientTime() };

        Assert.Equal(1, await run.RunAsync(server, "instance", "list", "--watch"));

        Assert.Equal([0, 0, 31], asked);
        Assert.Equal(
            """
            NAME   TYPE        STATE      NODE   ADDRESS     DRIVER   AGE
            db     container   RUNNING    n1     10.88.0.5   -        5m
            web    container   STARTING   n1     -           -        5m
            web    container   RUNNING    n1     10.88.0.5   -        5m
            db     container   DELETED    n1     -           -        5m
            new    container   RUNNING    n1     10.88.0.5   -        5m
            web    container   STOPPED    n1     -           -        5m

            """,
            run.Out);
    }

    [Fact]
    public async Task Json_gets_one_line_per_message_as_the_api_sent_it()
    {
        await using var server = await FakeServer.StartAsync();
        server.Compute.OnWatch = async (_, write, _) =>
        {
            await write(Samples.Change(WatchEventType.Added, Samples.Instance("web", InstanceState.Running)));
            await write(Samples.Bookmark(20));
            throw new Grpc.Core.RpcException(new(Grpc.Core.StatusCode.PermissionDenied, "enough"));
        };
        var run = new CtlRun();

        Assert.Equal(1, await run.RunAsync(server, "instance", "list", "-w", "-o", "json"));

        var lines = run.Out.Split('\n', StringSplitOptions.RemoveEmptyEntries);
        Assert.Equal([WatchEventType.Added, WatchEventType.Bookmark], lines.Select(line => WatchInstancesResponse.Parser.ParseJson(line).Type));
    }
}
