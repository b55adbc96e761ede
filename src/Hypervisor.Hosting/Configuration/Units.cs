using System.Buffers;
using System.Globalization;

namespace Hypervisor.Hosting.Configuration;

/// <summary>Durations and sizes as people write them; also for the command line.</summary>
public static class Units
{
    private static readonly SearchValues<char> NumberCharacters = SearchValues.Create("0123456789.");

    private static readonly (string Unit, decimal Milliseconds)[] DurationUnits = [("ms", 1), ("h", 3_600_000), ("m", 60_000), ("s", 1000)];

    private static readonly (string Unit, int Shift)[] SizeUnits =
        [("KiB", 10), ("MiB", 20), ("GiB", 30), ("TiB", 40), ("K", 10), ("M", 20), ("G", 30), ("T", 40), ("", 0)];

    /// <summary>One or more of number and unit (h, m, s, ms), "1h30m"; not negative, at most ten thousand days.</summary>
    public static bool TryParseDuration(string text, out TimeSpan duration)
    {
        duration = default;
        if (text.Length is 0 or > 32)
        {
            return false;
        }

        decimal total = 0;
        var rest = text.AsSpan();
        while (rest.Length > 0)
        {
            var digits = rest.IndexOfAnyExcept(NumberCharacters);
            if (digits <= 0 || rest[0] == '.' || !decimal.TryParse(rest[..digits], NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var amount))
            {
                return false;
            }

            rest = rest[digits..];
            var unitLength = rest.IndexOfAny(NumberCharacters);
            var unit = unitLength < 0 ? rest : rest[..unitLength];
            var scale = 0m;
            foreach (var (name, milliseconds) in DurationUnits)
            {
                if (unit.SequenceEqual(name))
                {
                    scale = milliseconds;
                }
            }

            if (scale == 0 || amount > 1_000_000_000)
            {
                return false;
            }

            total += amount * scale;
            rest = rest[unit.Length..];
        }

        if (total > 864_000_000_000m)
        {
            return false;
        }

        duration = TimeSpan.FromTicks((long)(total * TimeSpan.TicksPerMillisecond));
        return true;
    }

    /// <summary>A whole number of bytes, or of K, M, G, T (KiB, MiB, GiB, TiB), powers of 1024.</summary>
    public static bool TryParseSize(string text, out long bytes)
    {
        bytes = 0;
        foreach (var (unit, shift) in SizeUnits)
        {
            if (text.EndsWith(unit, StringComparison.Ordinal)
                && long.TryParse(text.AsSpan(0, text.Length - unit.Length), NumberStyles.None, CultureInfo.InvariantCulture, out var amount))
            {
                if (amount > long.MaxValue >> shift)
                {
                    return false;
                }

                bytes = amount << shift;
                return true;
            }
        }

        return false;
    }

    /// <summary>In the form that <see cref="TryParseDuration"/> reads.</summary>
    public static string Format(TimeSpan duration)
    {
        if (duration == TimeSpan.Zero)
        {
            return "0s";
        }

        var milliseconds = (decimal)duration.Ticks / TimeSpan.TicksPerMillisecond;
        var text = "";
        foreach (var (unit, scale) in (ReadOnlySpan<(string, decimal)>)[("h", 3_600_000), ("m", 60_000), ("s", 1000)])
        {
            var amount = decimal.Floor(milliseconds / scale);
            if (amount > 0)
            {
                text += amount.ToString(CultureInfo.InvariantCulture) + unit;
                milliseconds -= amount * scale;
            }
        }

        return milliseconds > 0 ? text + milliseconds.ToString("0.####", CultureInfo.InvariantCulture) + "ms" : text;
    }

    /// <summary>In the largest unit without a remainder.</summary>
    public static string FormatSize(long bytes)
    {
        foreach (var (unit, shift) in (ReadOnlySpan<(string, int)>)[("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)])
        {
            if (bytes != 0 && bytes % (1L << shift) == 0)
            {
                return (bytes >> shift).ToString(CultureInfo.InvariantCulture) + unit;
            }
        }

        return bytes.ToString(CultureInfo.InvariantCulture) + " bytes";
    }
}
