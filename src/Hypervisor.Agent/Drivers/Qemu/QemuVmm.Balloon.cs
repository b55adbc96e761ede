using System.Net.Sockets;
using System.Text.Json;
using Hypervisor.Agent.Guests;

namespace Hypervisor.Agent.Drivers.Qemu;

internal sealed partial class QemuVmm
{
    private const string Balloon = "/machine/peripheral/" + QemuCommandLine.BalloonName;

    /// <summary>
    /// What the guest's kernel says, through the balloon's driver. It is asked regularly only from the first time that somebody wants to know: each
    /// question wakes an idle guest.
    /// </summary>
    /// <returns>Null when it has not said so lately, or QEMU does not answer: what its process takes is known nevertheless.</returns>
    private async Task<long?> UsedMemoryAsync(QemuRecord record, CancellationToken cancellationToken)
    {
        if (!record.AsksBalloon)
        {
            return null;
        }

        try
        {
            return await CallAsync(record, client => UsedMemoryAsync(client, record.MemoryBytes, cancellationToken), cancellationToken);
        }
        catch (Exception failure) when (failure is DriverException or SocketException)
        {
            return null;
        }
    }

    private async Task<long?> UsedMemoryAsync(QmpClient client, long memoryBytes, CancellationToken cancellationToken)
    {
        // docs/interop/virtio-balloon-stats.rst: bytes, seconds since 1970; what the guest does not tell is the largest number of 64 bits.
        using var answer = await client.CallAsync("qom-get", json => WriteProperty(json, "guest-stats"), cancellationToken);
        var told = answer.RootElement.GetProperty("return");
        var at = told.GetProperty("last-update").GetInt64();
        if (at == 0)
        {
            (await client.CallAsync("qom-set", json =>
            {
                WriteProperty(json, "guest-stats-polling-interval");
                json.WriteNumber("value", (int)GuestLimits.BalloonInterval.TotalSeconds);
            }, cancellationToken)).Dispose();
        }

        return told.GetProperty("stats").TryGetProperty("stat-available-memory", out var available) && available.TryGetInt64(out var bytes)
            ? BalloonReport.Used(memoryBytes, bytes, at, time.GetUtcNow())
            : null;
    }

    private static void WriteProperty(Utf8JsonWriter json, string name)
    {
        json.WriteString("path", Balloon);
        json.WriteString("property", name);
    }
}
