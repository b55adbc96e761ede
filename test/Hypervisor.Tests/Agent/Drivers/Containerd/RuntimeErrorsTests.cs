using System.Net;
using System.Net.Sockets;
using Grpc.Core;
using Grpc.Net.Client;
using Hypervisor.Agent.Drivers.Containerd;
using Xunit;

namespace Hypervisor.Tests.Agent.Drivers.Containerd;

/// <summary>Protects: what containerd 1.6 and runc 1.1 say becomes a reason that a person understands.</summary>
public sealed class RuntimeErrorsTests
{
    private const string Task = "failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: ";

    [Theory]
    [InlineData(Task + "exec: \"nope\": executable file not found in $PATH: unknown", "CommandNotFound", true)]
    [InlineData(Task + "exec: \"/bin/nope\": stat /bin/nope: no such file or directory: unknown", "CommandNotFound", true)]
    [InlineData(Task + "exec: \"/etc/passwd\": permission denied: unknown", "CommandNotExecutable", true)]
    [InlineData(Task + "exec: \"/etc\": is a directory: unknown", "CommandNotExecutable", true)]
    [InlineData(Task + "chdir to cwd (\"/x\") set in config.json failed: permission denied: unknown", "WorkingDirectoryInvalid", true)]
    [InlineData(Task + "container init was OOM-killed (memory limit too low?): unknown", "MemoryLimitTooLow", true)]
    [InlineData("failed to write: write /var/lib/x: no space left on device", "DiskFull", false)]
    [InlineData("something else", "RuntimeFailed", false)]
    public void Messages_become_reasons(string message, string reason, bool permanent)
    {
        var error = RuntimeErrors.Translate(new RpcException(new Status(StatusCode.Unknown, message)), "/run/c.sock");
        Assert.Equal((reason, permanent), (error.Reason, error.Permanent));
    }

    [Fact]
    public void The_command_is_named() => Assert.Contains(
        "\"no such\\\"x\"", RuntimeErrors.TranslateMessage("exec: \"no such\\\"x\": executable file not found in $PATH").Message, StringComparison.Ordinal);

    [Theory]
    [InlineData(StatusCode.Unavailable)]
    [InlineData(StatusCode.DeadlineExceeded)]
    public void A_runtime_that_does_not_answer_is_unavailable(StatusCode code)
    {
        var error = RuntimeErrors.Translate(new RpcException(new Status(code, "x")), "/run/c.sock");
        Assert.Equal((RuntimeErrors.Unavailable, false), (error.Reason, error.Permanent));
        Assert.Contains("/run/c.sock", error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(StatusCode.Unavailable, "dial unix /run/containerd/s/1f: connect: connection refused: unavailable")]
    [InlineData(StatusCode.Unknown, "ttrpc: closed: unknown")]
    public void A_shim_that_is_gone_is_told_by_containerd(StatusCode code, string detail)
    {
        Assert.True(RuntimeErrors.IsDeadShim(new RpcException(new Status(code, detail))));
        Assert.False(RuntimeErrors.IsDeadShim(new RpcException(new Status(StatusCode.Unavailable, detail, new SocketException(111)))));
    }

    [Fact]
    public async Task A_containerd_that_is_gone_is_not_taken_for_a_shim_that_is_gone()
    {
        // A loopback port that was free a moment ago and that nobody listens on.
        using var taken = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        taken.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        using var channel = GrpcChannel.ForAddress($"http://{taken.LocalEndPoint}");
        var method = new Method<byte[], byte[]>(
            MethodType.Unary, "s", "m", Marshallers.Create(bytes => bytes, bytes => bytes), Marshallers.Create(bytes => bytes, bytes => bytes));
        using var call = channel.CreateCallInvoker().AsyncUnaryCall(method, null, new CallOptions(cancellationToken: TestContext.Current.CancellationToken), []);

        var error = await Assert.ThrowsAsync<RpcException>(() => call.ResponseAsync);
        Assert.Equal(StatusCode.Unavailable, error.StatusCode);
        Assert.NotNull(error.Status.DebugException);
        Assert.False(RuntimeErrors.IsDeadShim(error));
    }

    [Fact]
    public void Control_characters_do_not_pass() =>
        Assert.DoesNotContain('\u001b', RuntimeErrors.TranslateMessage("odd \u001b[31m message").Message);
}
