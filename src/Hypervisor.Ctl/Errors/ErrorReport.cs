using Google.Rpc;
using Grpc.Core;
using Hypervisor.Ctl.Connection;
using Hypervisor.Ctl.Output;

namespace Hypervisor.Ctl.Errors;

/// <summary>Turns what went wrong into lines on the error stream and an exit code. Server-sent text is made harmless first.</summary>
internal static class ErrorReport
{
    private const string DetailsTrailer = "grpc-status-details-bin";

    public static int Write(CtlEnvironment environment, Exception exception, string? subject = null)
    {
        var prefix = subject is null ? "" : TerminalText.Clean(subject) + ": ";
        switch (exception)
        {
            case CtlException ctl:
                WriteError(environment, prefix + TerminalText.Clean(ctl.Message), ctl.Hint);
                return ctl.ExitCode;
            case ServerUnreachableException unreachable:
                WriteError(
                    environment,
                    $"{prefix}{TerminalText.Clean(unreachable.Message)}",
                    unreachable.Answered
                        ? "The server cannot do it now; try again later."
                        : $"Is the server running? Try 'make run' or pass --server HOST:PORT (now {TerminalText.Clean(unreachable.Server)}, "
                            + $"from {unreachable.ServerSource}).");
                return ExitCode.Unreachable;
            case RpcException rpc:
                return WriteRefusal(environment, rpc, prefix);
            default:
                WriteError(environment, prefix + TerminalText.Clean(exception.Message), null);
                return ExitCode.Refused;
        }
    }

    public static void WriteError(CtlEnvironment environment, string message, string? hint)
    {
        var (red, plain) = environment.UseColourOnError ? ("\e[31m", "\e[0m") : ("", "");
        environment.Error.WriteLine($"{red}error:{plain} {message}");
        if (hint is not null)
        {
            environment.Error.WriteLine(hint);
        }
    }

    private static int WriteRefusal(CtlEnvironment environment, RpcException exception, string prefix)
    {
        var status = ReadDetails(exception);
        var violations = new List<string>();
        string? retry = null;
        foreach (var detail in status?.Details ?? [])
        {
            if (detail.Is(BadRequest.Descriptor))
            {
                violations.AddRange(detail.Unpack<BadRequest>().FieldViolations.Select(v => $"  {Name(v.Field)}: {v.Description}"));
            }
            else if (detail.Is(QuotaFailure.Descriptor))
            {
                violations.AddRange(detail.Unpack<QuotaFailure>().Violations.Select(v => $"  {v.Subject}: {v.Description}"));
            }
            else if (detail.Is(PreconditionFailure.Descriptor))
            {
                violations.AddRange(detail.Unpack<PreconditionFailure>().Violations.Select(v => $"  {v.Subject}: {v.Description}"));
            }
            else if (detail.Is(RetryInfo.Descriptor) && detail.Unpack<RetryInfo>().RetryDelay is { } delay)
            {
                retry = $"Try again in {delay.ToTimeSpan().TotalSeconds:0.#} s.";
            }
        }

        var message = exception.Status.Detail is { Length: > 0 } text ? text : exception.StatusCode.ToString();
        WriteError(environment, prefix + TerminalText.Clean(message), null);
        foreach (var violation in violations)
        {
            environment.Error.WriteLine(TerminalText.Clean(violation));
        }

        if ((retry ?? Hint(exception.StatusCode)) is { } hint)
        {
            environment.Error.WriteLine(hint);
        }

        return ExitCode.Refused;
    }

    private static string Name(string field) => FieldFlags.FlagOf(field) is { } flag ? $"{flag} ({field})" : field;

    private static string? Hint(StatusCode code) => code switch
    {
        StatusCode.Unimplemented => "This server does not offer that yet; 'hypervisor-ctl cluster info' shows its version.",
        StatusCode.Aborted => "It changed in the meantime: look at it again and repeat the command.",
        _ => null,
    };

    private static Google.Rpc.Status? ReadDetails(RpcException exception)
    {
        if (exception.Trailers.GetValueBytes(DetailsTrailer) is not { } bytes)
        {
            return null;
        }

        try
        {
            return Google.Rpc.Status.Parser.ParseFrom(bytes);
        }
        catch (Google.Protobuf.InvalidProtocolBufferException)
        {
            // The status and its message are shown all the same; details that are no google.rpc.Status add nothing.
            return null;
        }
    }
}
