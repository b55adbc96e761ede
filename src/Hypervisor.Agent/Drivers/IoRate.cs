using System.Globalization;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Drivers;

/// <summary>What a disk may do in a second; 0 is without limit, but not for all four.</summary>
internal sealed record IoRate(long ReadBytes, long WriteBytes, long ReadOperations, long WriteOperations)
{
    /// <summary>Null without a limit.</summary>
    public static IoRate? Of(DiskRates? rates) =>
        rates is null or { ReadBytesPerSecond: 0, WriteBytesPerSecond: 0, ReadOperationsPerSecond: 0, WriteOperationsPerSecond: 0 }
            ? null
            : new(rates.ReadBytesPerSecond, rates.WriteBytesPerSecond, rates.ReadOperationsPerSecond, rates.WriteOperationsPerSecond);

    /// <summary>Null for anything but what <see cref="ToString"/> wrote.</summary>
    public static IoRate? Parse(string text)
    {
        var numbers = text.Split(' ').Select(word => long.TryParse(word, NumberStyles.None, CultureInfo.InvariantCulture, out var number) ? number : -1).ToArray();
        return numbers is [>= 0 and var readBytes, >= 0 and var writeBytes, >= 0 and var reads, >= 0 and var writes] ? new(readBytes, writeBytes, reads, writes) : null;
    }

    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"{ReadBytes} {WriteBytes} {ReadOperations} {WriteOperations}");
}
