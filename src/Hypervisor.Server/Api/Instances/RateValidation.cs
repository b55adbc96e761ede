using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Errors;

namespace Hypervisor.Server.Api.Instances;

/// <summary>How fast an instance's disk and network may be: enough that something still works, and no more than can be held to.</summary>
internal static class RateValidation
{
    public static void Check(DiskRates? rates, string field, FieldViolations violations)
    {
        CheckBytes(rates?.ReadBytesPerSecond ?? 0, $"{field}.read_bytes_per_second", violations);
        CheckBytes(rates?.WriteBytesPerSecond ?? 0, $"{field}.write_bytes_per_second", violations);
        CheckOperations(rates?.ReadOperationsPerSecond ?? 0, $"{field}.read_operations_per_second", violations);
        CheckOperations(rates?.WriteOperationsPerSecond ?? 0, $"{field}.write_operations_per_second", violations);
    }

    public static void Check(NetworkRates? rates, string field, FieldViolations violations)
    {
        CheckBytes(rates?.ReceiveBytesPerSecond ?? 0, $"{field}.receive_bytes_per_second", violations);
        CheckBytes(rates?.TransmitBytesPerSecond ?? 0, $"{field}.transmit_bytes_per_second", violations);
    }

    private static void CheckBytes(long rate, string field, FieldViolations violations) =>
        Check(rate, Limits.Instance.MinBytesPerSecond, Limits.Instance.MaxBytesPerSecond, "bytes per second (64 KiB/s to 10 GiB/s)", field, violations);

    private static void CheckOperations(long rate, string field, FieldViolations violations) =>
        Check(rate, Limits.Instance.MinOperationsPerSecond, Limits.Instance.MaxOperationsPerSecond, "operations per second", field, violations);

    private static void Check(long rate, long minimum, long maximum, string unit, string field, FieldViolations violations)
    {
        if (rate != 0 && (rate < minimum || rate > maximum))
        {
            violations.Add(field, $"{rate} is outside {minimum} to {maximum} {unit}; choose one of these, or 0 for no limit.");
        }
    }
}
