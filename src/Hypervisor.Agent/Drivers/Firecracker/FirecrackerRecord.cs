using System.Text.Json;
using System.Text.Json.Serialization;
using Hypervisor.Agent.Drivers.Firecracker.Api;
using Hypervisor.Agent.Guests;
using Hypervisor.Agent.Native;
using Hypervisor.Protocol;

namespace Hypervisor.Agent.Drivers.Firecracker;

/// <summary>What the driver has to know of one guest when another agent asks it.</summary>
/// <param name="Root">Firecracker's working folder and, in a jail, its root.</param>
/// <param name="User">In a jail, that it runs as.</param>
/// <param name="ProcessId">0 before the process is made.</param>
internal sealed record FirecrackerRecord(
    string Uid,
    long Epoch,
    string RunDirectory,
    string Root,
    uint? User,
    long MemoryBytes,
    string? Tap,
    int ProcessId,
    long StartTicks)
{
    public InstanceId Id => new(Uid);

    public ProcessMark Process => new(ProcessId, StartTicks);
}

/// <summary>The records: one file per guest, written before anything is made and removed last.</summary>
/// <remarks>Not made durable: what they describe does not survive a reboot either.</remarks>
internal sealed class FirecrackerRecords(string directory)
{
    private const string Suffix = ".json";

    /// <exception cref="DriverException">A record cannot be read: nothing is concluded from what is there.</exception>
    public IReadOnlyList<FirecrackerRecord> List() => !Directory.Exists(directory)
        ? []
        : [.. Directory.EnumerateFiles(directory, "*" + Suffix).Order(StringComparer.Ordinal)
            .Select(path => Read(new InstanceId(Path.GetFileNameWithoutExtension(path))))
            .OfType<FirecrackerRecord>()];

    /// <summary>Null when there is none.</summary>
    /// <exception cref="DriverException">RuntimeUnavailable: there is one, and it cannot be read.</exception>
    public FirecrackerRecord? Read(InstanceId id)
    {
        var path = PathOf(id);
        try
        {
            using var file = LinuxFile.OpenRead(path);
            if (file is null)
            {
                return null;
            }

            var buffer = new byte[FirecrackerLimits.RecordBytes];
            var record = JsonSerializer.Deserialize(buffer.AsSpan(0, RandomAccess.Read(file, buffer, 0)), FirecrackerRecordJson.Default.FirecrackerRecord);
            return record is not null && record.Uid == id.Value ? record : throw new InvalidDataException("it is of another guest");
        }
        catch (Exception error) when (error is JsonException or IOException or InvalidDataException)
        {
            throw new DriverException(
                FirecrackerClient.Unavailable,
                $"{path} cannot be read ({error.Message}); end the guest's firecracker process and delete the file", permanent: false, error);
        }
    }

    public void Write(FirecrackerRecord record)
    {
        Directory.CreateDirectory(directory, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        WholeFile.Write(
            PathOf(record.Id),
            JsonSerializer.SerializeToUtf8Bytes(record, FirecrackerRecordJson.Default.FirecrackerRecord),
            UnixFileMode.UserRead | UnixFileMode.UserWrite);
    }

    public void Remove(InstanceId id)
    {
        if (Directory.Exists(directory))
        {
            File.Delete(PathOf(id) + WholeFile.TemporarySuffix);
            File.Delete(PathOf(id));
        }
    }

    /// <exception cref="DriverException">GuestInvalid: not a name that can be part of a path or of Firecracker's arguments.</exception>
    public string PathOf(InstanceId id) => Path.Combine(directory, FirecrackerCommand.Checked(id) + Suffix);
}

/// <summary>The format of records; readable by people, checked when read.</summary>
[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower,
    RespectNullableAnnotations = true,
    RespectRequiredConstructorParameters = true)]
[JsonSerializable(typeof(FirecrackerRecord))]
internal sealed partial class FirecrackerRecordJson : JsonSerializerContext;
