using System.Globalization;
using Hypervisor.Ctl.Errors;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Ctl.Commands.Instances;

/// <summary>"tcp:5432", "http:8080", "http:8080/ready", "exec:pg_isready -q".</summary>
internal static class HealthFlag
{
    private const string Exec = "exec:";

    /// <exception cref="CtlException">It is none of these.</exception>
    public static void Apply(HealthCheck health, string text)
    {
        if (text.StartsWith(Exec, StringComparison.Ordinal))
        {
            var words = Words.Split(text[Exec.Length..])
                ?? throw CtlException.Usage($"--health: '{text}' has a quotation mark without its second.", "Write exec:COMMAND, for example exec:'pg_isready -q'.");
            health.Exec = words.Count > 0 ? new ExecCheck { Command = { words } } : throw Wrong(text);
            return;
        }

        var colon = text.IndexOf(':', StringComparison.Ordinal);
        var slash = text.IndexOf('/', StringComparison.Ordinal);
        var port = colon < 0 ? "" : slash < 0 ? text[(colon + 1)..] : text[(colon + 1)..Math.Max(slash, colon + 1)];
        if (!int.TryParse(port, NumberStyles.None, CultureInfo.InvariantCulture, out var number))
        {
            throw Wrong(text);
        }

        switch (text[..colon])
        {
            case "tcp" when slash < 0:
                health.Tcp = new TcpCheck { Port = number };
                break;
            case "http":
                health.Http = new HttpCheck { Port = number, Path = slash < 0 ? "" : text[slash..] };
                break;
            default:
                throw Wrong(text);
        }
    }

    private static CtlException Wrong(string text) => CtlException.Usage(
        $"--health: '{text}' is no check.", "Write tcp:PORT, http:PORT/PATH or exec:COMMAND, for example http:8080/ready.");
}
