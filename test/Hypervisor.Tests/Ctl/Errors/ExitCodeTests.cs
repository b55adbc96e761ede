using System.Net;
using System.Net.Sockets;
using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Google.Rpc;
using Grpc.Core;
using Hypervisor.Protocol.V1;
using Xunit;

namespace Hypervisor.Tests.Ctl.Errors;

/// <summary>Protects: scripts can rely on exit codes, and people are told what was wrong, which flag, and what to do.</summary>
public sealed class ExitCodeTests
{
    [Fact]
    public async Task A_refusal_lists_every_violation_with_its_flag()
    {
        await using var server = await FakeServer.StartAsync();
        server.Compute.OnCreate = _ => throw Refusal(new BadRequest
        {
            FieldViolations =
            {
                new BadRequest.Types.FieldViolation { Field = "spec.resources.memory_bytes", Description = "is 1, wants at least 4 MiB" },
                new BadRequest.Types.FieldViolation { Field = "spec.process.env[0].name", Description = "is \"a\e[2Jb\"" },
                new BadRequest.Types.FieldViolation { Field = "spec.machine.topology", Description = "is unknown" },
            },
        });
        var run = new CtlRun();

        Assert.Equal(1, await run.RunAsync(server, "instance", "create", "web"));

        Assert.Equal(
            """
            error: The request is not valid.
              --memory (spec.resources.memory_bytes): is 1, wants at least 4 MiB
              --env (spec.process.env[0].name): is "a\x1B[2Jb"
              spec.machine.topology: is unknown

            """,
            run.Error);
    }

    [Fact]
    public async Task A_method_the_server_lacks_is_exit_code_1()
    {
        await using var server = await FakeServer.StartAsync();
        var run = new CtlRun();

        Assert.Equal(1, await run.RunAsync(server, "instance", "stats", "web"));

        Assert.Contains("does not offer that yet", run.Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_server_that_does_not_listen_is_exit_code_3_at_once()
    {
        var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        var address = listener.LocalEndpoint.ToString()!;
        listener.Stop();
        var run = new CtlRun();

        Assert.Equal(3, await run.RunAsync(null, "instance", "list", "--server", address));

        Assert.Equal(
            $"""
            error: Could not reach the server at {address}: connection refused.
            Is the server running? Try 'make run' or pass --server HOST:PORT (now {address}, from --server).

            """,
            run.Error);
    }

    [Fact]
    public async Task An_unavailable_server_is_asked_again_with_the_same_request_id()
    {
        await using var server = await FakeServer.StartAsync();
        var calls = 0;
        server.Compute.OnCreate = request => ++calls < 3
            ? throw new RpcException(new(StatusCode.Unavailable, "no leader"))
            : Samples.Instance(request.Name, InstanceState.Pending);
        var run = new CtlRun { Clock = new ImpatientTime() };

        Assert.Equal(0, await run.RunAsync(server, "instance", "create", "web", "--no-wait"));

        Assert.Equal(3, calls);
        Assert.Single(server.Compute.Requests.Cast<CreateInstanceRequest>().Select(r => r.RequestId).Distinct());
    }

    [Fact]
    public async Task What_a_server_that_answers_is_waiting_for_is_said_as_it_says_it()
    {
        await using var server = await FakeServer.StartAsync();
        server.Compute.OnCreate = _ => throw new RpcException(new(StatusCode.Unavailable, "Registry docker.io cannot be reached."));
        var run = new CtlRun { Clock = new ImpatientTime() };

        Assert.Equal(3, await run.RunAsync(server, "instance", "create", "web", "--no-wait"));

        Assert.Contains("error: Registry docker.io cannot be reached.\nThe server cannot do it now", run.Error.ReplaceLineEndings("\n"), StringComparison.Ordinal);
        Assert.DoesNotContain("make run", run.Error, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("instance create --bogus")]
    [InlineData("instance")]
    [InlineData("nonsense")]
    [InlineData("instance list -o xml")]
    [InlineData("instance create web --memory lots")]
    [InlineData("instance create web --type lorry")]
    [InlineData("instance create web --publish 99999:80")]
    [InlineData("instance create web --timeout 0s")]
    [InlineData("instance create")]
    [InlineData("instance create a b")]
    [InlineData("instance list --server :::")]
    [InlineData("instance list --context nowhere")]
    [InlineData("image import /no/such/file")]
    [InlineData("image import /")]
    public async Task A_wrong_command_line_is_exit_code_2_and_asks_no_server(string line)
    {
        var run = new CtlRun { Variables = { ["HYPERVISOR_SERVER"] = "127.0.0.1:1" } };

        Assert.Equal(2, await run.RunAsync(null, line.Split(' ')));

        Assert.StartsWith("error: ", run.Error, StringComparison.Ordinal);
        Assert.Equal("", run.Out);
    }

    private static RpcException Refusal(IMessage detail)
    {
        var status = new Google.Rpc.Status { Code = (int)StatusCode.InvalidArgument, Message = "The request is not valid.", Details = { Any.Pack(detail) } };
        return new(new(StatusCode.InvalidArgument, status.Message), new Metadata { { "grpc-status-details-bin", status.ToByteArray() } });
    }
}
