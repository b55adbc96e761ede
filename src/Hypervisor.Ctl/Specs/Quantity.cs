using System.Globalization;

namespace Hypervisor.Ctl.Specs;

/// <summary>Amounts as people write them.</summary>
internal static class Quantity
{
    private static readonly (string Suffix, long Factor)[] Units =
    [
        ("KiB", 1L << 10), ("MiB", 1L << 20), ("GiB", 1L << 30), ("TiB", 1L << 40),
        ("Ki", 1L << 10), ("Mi", 1L << 20), ("Gi", 1L << 30), ("Ti", 1L << 40),
        ("kB", 1_000), ("MB", 1_000_000), ("GB", 1_000_000_000), ("TB", 1_000_000_000_000),
    ];

    /// <summary>"512MiB", "2GiB", "1.5Gi", "2GB", "65536B"; a plain number counts <paramref name="plainUnit"/> bytes each, null refuses it.</summary>
    public static bool TryBytes(string text, long? plainUnit, out long bytes)
    {
        bytes = 0;
        var number = text.AsSpan();
        var factor = plainUnit ?? 0;
        var found = false;
        foreach (var (suffix, unit) in Units)
        {
            if (number.EndsWith(suffix, StringComparison.Ordinal))
            {
                number = number[..^suffix.Length];
                factor = unit;
                found = true;
                break;
            }
        }

        if (!found && number.EndsWith("B", StringComparison.Ordinal))
        {
            number = number[..^1];
            factor = 1;
        }

        return factor > 0 && TryScale(number, factor, out bytes);
    }

    /// <summary>"50MiB/s", "50MiB" or "50MB": <see cref="TryBytes"/> in a second.</summary>
    public static bool TryBytesPerSecond(string text, long? plainUnit, out long bytes) =>
        TryBytes(text.EndsWith("/s", StringComparison.Ordinal) ? text[..^2] : text, plainUnit, out bytes);

    /// <summary>"2", "0.5" (CPUs) or "500m" (thousandths); not 0, which on the wire means "the default".</summary>
    public static bool TryMillicores(string text, out long millicores) =>
        (text.EndsWith('m') ? TryScale(text.AsSpan(0, text.Length - 1), 1, out millicores) : TryScale(text, 1000, out millicores))
        && millicores > 0;

    private static bool TryScale(ReadOnlySpan<char> number, long factor, out long amount)
    {
        amount = 0;
        if (!decimal.TryParse(number, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var value)
            || value > long.MaxValue / factor)
        {
            return false;
        }

        var exact = value * factor;
        amount = (long)exact;
        return exact == amount;
    }
}
