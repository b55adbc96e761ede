using System.Buffers.Binary;
using Microsoft.Win32.SafeHandles;

namespace Hypervisor.Agent.Drivers.Firecracker;

/// <summary>
/// One file for the two that Firecracker writes, so that a snapshot is moved, copied and deleted as one: memory at the front, where it
/// is mapped from, then the device state, then how long each is.
/// </summary>
internal static class SnapshotFile
{
    /// <summary>A reason.</summary>
    public const string SnapshotInvalid = "SnapshotInvalid";

    private const int FooterBytes = 32;

    private static ReadOnlySpan<byte> Magic => "zixiao-fc-snap-1"u8;

    /// <summary>Adds the state to the memory's file, and syncs it.</summary>
    public static void Append(SafeFileHandle memory, SafeFileHandle state)
    {
        var (memoryBytes, stateBytes) = (RandomAccess.GetLength(memory), RandomAccess.GetLength(state));
        if (stateBytes is 0 or > FirecrackerLimits.StateBytes)
        {
            throw Invalid($"its device state has {stateBytes} bytes, and at most {FirecrackerLimits.StateBytes} are taken");
        }

        var buffer = new byte[stateBytes + FooterBytes];
        var footer = buffer.AsSpan((int)stateBytes);
        ReadAll(state, buffer.AsSpan(0, (int)stateBytes), 0);
        Magic.CopyTo(footer);
        BinaryPrimitives.WriteInt64LittleEndian(footer[16..], memoryBytes);
        BinaryPrimitives.WriteInt64LittleEndian(footer[24..], stateBytes);
        RandomAccess.Write(memory, buffer, memoryBytes);
        RandomAccess.FlushToDisk(memory);
    }

    /// <summary>The device state of a snapshot.</summary>
    /// <exception cref="DriverException">SnapshotInvalid.</exception>
    public static byte[] ReadState(SafeFileHandle file)
    {
        var (memoryBytes, stateBytes) = ReadLengths(file);
        var state = new byte[stateBytes];
        ReadAll(file, state, memoryBytes);
        return state;
    }

    /// <summary>Leaves only the memory.</summary>
    public static void CutToMemory(SafeFileHandle file) => RandomAccess.SetLength(file, ReadLengths(file).MemoryBytes);

    private static (long MemoryBytes, long StateBytes) ReadLengths(SafeFileHandle file)
    {
        var length = RandomAccess.GetLength(file);
        Span<byte> footer = stackalloc byte[FooterBytes];
        if (length < FooterBytes)
        {
            throw Invalid($"it has only {length} bytes");
        }

        ReadAll(file, footer, length - FooterBytes);
        var (memoryBytes, stateBytes) = (BinaryPrimitives.ReadInt64LittleEndian(footer[16..]), BinaryPrimitives.ReadInt64LittleEndian(footer[24..]));
        return footer.StartsWith(Magic) && memoryBytes > 0 && stateBytes is > 0 and <= FirecrackerLimits.StateBytes && memoryBytes == length - FooterBytes - stateBytes
            ? (memoryBytes, stateBytes)
            : throw Invalid("it does not end as a whole one does");
    }

    private static void ReadAll(SafeFileHandle file, Span<byte> buffer, long offset)
    {
        while (buffer.Length > 0)
        {
            var read = RandomAccess.Read(file, buffer, offset);
            if (read == 0)
            {
                throw Invalid("it became shorter while it was read");
            }

            buffer = buffer[read..];
            offset += read;
        }
    }

    private static DriverException Invalid(string why) =>
        new(SnapshotInvalid, $"the memory snapshot is none of Firecracker's: {why}; restore another one", permanent: true);
}
