using Hypervisor.Ctl.Errors;
using Hypervisor.Ctl.Specs;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Ctl.Commands.Instances;

/// <summary>"root=10GiB", "data=20GiB,local": name, size, kind. A size of 0 means the image's.</summary>
internal static class DiskFlag
{
    private const long GiB = 1L << 30;

    /// <exception cref="CtlException">It is none of these.</exception>
    public static Disk Parse(string text)
    {
        var equals = text.IndexOf('=', StringComparison.Ordinal);
        var comma = text.IndexOf(',', StringComparison.Ordinal);
        var size = equals < 0 ? "" : comma < 0 ? text[(equals + 1)..] : text[(equals + 1)..Math.Max(equals + 1, comma)];
        if (equals <= 0 || (comma >= 0 && comma < equals) || !Quantity.TryBytes(size, GiB, out var bytes))
        {
            throw CtlException.Usage($"--disk: '{text}' is no disk.", "Write NAME=SIZE[,KIND], for example root=10GiB or data=20GiB,local; a plain number is GiB.");
        }

        return new Disk { Name = text[..equals], SizeBytes = bytes, Kind = comma < 0 ? DiskKind.Unspecified : EnumWords.Parse<DiskKind>("--disk")(text[(comma + 1)..]) };
    }
}
