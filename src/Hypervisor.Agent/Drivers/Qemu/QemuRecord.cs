using System.Text.Json;
using System.Text.Json.Serialization;
using Hypervisor.Agent.Guests;
using Hypervisor.Agent.Native;
using Hypervisor.Protocol;

namespace Hypervisor.Agent.Drivers.Qemu;

/// <summary>What another agent has to know of one guest's QEMU.</summary>
/// <param name="ProcessId">0 before the process is made.</param>
/// <param name="Tap">Null without a network.</param>
/// <param name="KeepsMemory">What it has in memory is in a file already.</param>
/// <param name="AsksBalloon">No init of ours tells how much memory it uses. False as well where an earlier agent started it, without a balloon.</param>
internal sealed record QemuRecord(
    string Uid, string RunDirectory, long MemoryBytes, string? Tap, int ProcessId, long StartTicks, bool KeepsMemory = false, bool AsksBalloon = false)
{
    [JsonIgnore]
    public InstanceId Id => new(Uid);

    [JsonIgnore]
    public ProcessMark Process => new(ProcessId, StartTicks);
}

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase)]
[JsonSerializable(typeof(QemuRecord))]
internal sealed partial class QemuJson : JsonSerializerContext;

/// <summary>The records: one file per guest, written before anything is made and removed last.</summary>
/// <remarks>Not made durable: what they describe does not survive a reboot either.</remarks>
internal sealed class QemuRecords(string directory)
{
    private const string Suffix = ".json";

    /// <exception cref="DriverException">RuntimeUnavailable: a record cannot be read, so that nothing is concluded from what is there.</exception>
    public IReadOnlyList<QemuRecord> List() => !Directory.Exists(directory)
        ? []
        : [.. Directory.EnumerateFiles(directory, "*" + Suffix).Order(StringComparer.Ordinal)
            .Select(path => Read(new InstanceId(Path.GetFileNameWithoutExtension(path))))
            .OfType<QemuRecord>()];

    /// <summary>Null when there is none.</summary>
    /// <exception cref="DriverException">RuntimeUnavailable: there is one, and it cannot be read.</exception>
    public QemuRecord? Read(InstanceId id)
    {
        if (PathOf(id) is not { } path)
        {
            return null;
        }

        try
        {
            using var file = LinuxFile.OpenRead(path);
            if (file is null)
            {
                return null;
            }

            var buffer = new byte[QemuLimits.RecordBytes];
            var record = JsonSerializer.Deserialize(buffer.AsSpan(0, RandomAccess.Read(file, buffer, 0)), QemuJson.Default.QemuRecord);
            return record?.Uid == id.Value ? record : throw new InvalidDataException("it is of another guest");
        }
        catch (Exception error) when (error is JsonException or IOException or InvalidDataException)
        {
            throw new DriverException(
                GuestLimits.Unavailable, $"{path} cannot be read ({error.Message}); end the guest's QEMU process and delete the file", permanent: false, error);
        }
    }

    public void Write(QemuRecord record)
    {
        Directory.CreateDirectory(directory, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        WholeFile.Write(
            PathOf(record.Id)!, JsonSerializer.SerializeToUtf8Bytes(record, QemuJson.Default.QemuRecord), UnixFileMode.UserRead | UnixFileMode.UserWrite);
    }

    public void Remove(InstanceId id)
    {
        if (Directory.Exists(directory) && PathOf(id) is { } path)
        {
            File.Delete(path + WholeFile.TemporarySuffix);
            File.Delete(path);
        }
    }

    private string? PathOf(InstanceId id) => Guid.TryParseExact(id.Value, "D", out _) ? Path.Combine(directory, id.Value + Suffix) : null;
}
