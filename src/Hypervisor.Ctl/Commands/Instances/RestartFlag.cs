using System.Globalization;
using Hypervisor.Ctl.Errors;
using Hypervisor.Ctl.Specs;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Ctl.Commands.Instances;

/// <summary>"always", "never", "on-failure", "on-failure:5".</summary>
internal static class RestartFlag
{
    /// <exception cref="CtlException">It is none of these.</exception>
    public static RestartSpec Parse(string text)
    {
        var parts = text.Split(':', 2);
        var spec = new RestartSpec { Policy = EnumWords.Parse<RestartPolicy>("--restart")(parts[0]) };
        if (parts.Length == 2)
        {
            spec.MaxRestarts = int.TryParse(parts[1], NumberStyles.None, CultureInfo.InvariantCulture, out var count) && count > 0
                ? count
                : throw CtlException.Usage($"--restart: '{parts[1]}' is not a number of restarts.", "Write for example on-failure:5.");
        }

        return spec;
    }
}
