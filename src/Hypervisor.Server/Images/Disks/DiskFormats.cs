using System.Buffers.Binary;
using System.Text;

namespace Hypervisor.Server.Images.Disks;

/// <summary>
/// Formats by the bytes that name them. Nothing is taken for a format because of them; they say what a file is that was called
/// something else, which whoever opens it later might believe instead.
/// </summary>
/// <remarks>The magics are those that QEMU's block drivers probe for, and those of files that people mistake for disks.</remarks>
internal static class DiskFormats
{
    public const string Qcow2 = "qcow2";

    private static readonly (string Name, int Offset, byte[] Magic)[] _magics =
    [
        ("a QED disk", 0, "QED\0"u8.ToArray()),
        ("a VMDK disk", 0, "KDMV"u8.ToArray()),
        ("a VMDK disk", 0, "COWD"u8.ToArray()),
        ("a VHD disk", 0, "conectix"u8.ToArray()),
        ("a VHDX disk", 0, "vhdxfile"u8.ToArray()),
        ("a VDI disk", 0x40, [0x7F, 0x10, 0xDA, 0xBE]),
        ("a VDI disk", 0x40, [0xBE, 0xDA, 0x10, 0x7F]),
        ("a LUKS volume", 0, [(byte)'L', (byte)'U', (byte)'K', (byte)'S', 0xBA, 0xBE]),
        ("a LUKS volume", 0, [(byte)'S', (byte)'K', (byte)'U', (byte)'L', 0xBA, 0xBE]),
        ("a Parallels disk", 0, "WithoutFreeSpace"u8.ToArray()),
        ("a Parallels disk", 0, "WithouFreSpacExt"u8.ToArray()),
        ("a Bochs disk", 0, "Bochs Virtual HD Image"u8.ToArray()),
        ("a cloop image", 0, "#!/bin/sh\n#V2.0 Format"u8.ToArray()),
        ("compressed with xz", 0, [0xFD, (byte)'7', (byte)'z', (byte)'X', (byte)'Z', 0]),
        ("compressed with bzip2", 0, "BZh"u8.ToArray()),
        ("compressed with gzip", 0, [0x1F, 0x8B]),
        ("compressed with zstd", 0, [0x28, 0xB5, 0x2F, 0xFD]),
        ("a zip archive", 0, [(byte)'P', (byte)'K', 3, 4]),
        ("a 7z archive", 0, [(byte)'7', (byte)'z', 0xBC, 0xAF, 0x27, 0x1C]),
        ("a tar archive", 257, "ustar"u8.ToArray()),
    ];

    private static ReadOnlySpan<byte> Qcow => [(byte)'Q', (byte)'F', (byte)'I', 0xFB];

    /// <summary>QEMU's own magic of qcow and qcow2.</summary>
    public static bool IsQcow(ReadOnlySpan<byte> head) => head.StartsWith(Qcow);

    /// <summary>What the file says that it is, in words; null for one that says nothing, as raw disks do.</summary>
    public static string? Recognise(ReadOnlySpan<byte> head)
    {
        if (IsQcow(head))
        {
            return head.Length >= 8 && BinaryPrimitives.ReadUInt32BigEndian(head[4..]) == 1 ? "a qcow disk of version 1" : "a qcow2 disk";
        }

        foreach (var (name, offset, magic) in _magics)
        {
            if (head.Length >= offset + magic.Length && head[offset..].StartsWith(magic))
            {
                return name;
            }
        }

        return IsVmdkDescriptor(head) ? "a VMDK description" : null;
    }

    /// <summary>The same of the last sector.</summary>
    public static string? RecogniseTail(ReadOnlySpan<byte> tail) =>
        tail.StartsWith("conectix"u8) ? "a VHD disk" : tail.StartsWith("koly"u8) ? "a DMG disk" : null;

    /// <summary>As vmdk_probe in QEMU: comments and empty lines, then "version=". Its extents name any file of the machine.</summary>
    private static bool IsVmdkDescriptor(ReadOnlySpan<byte> head)
    {
        var text = head[..Math.Min(head.Length, 4096)];
        if (text.IndexOf("# Disk DescriptorFile"u8) >= 0)
        {
            return true;
        }

        foreach (var line in text.Split((byte)'\n'))
        {
            var trimmed = Encoding.Latin1.GetString(text[line]).Trim(' ', '\t', '\r');
            if (trimmed.Length > 0 && trimmed[0] != '#')
            {
                return trimmed.StartsWith("version=", StringComparison.OrdinalIgnoreCase);
            }
        }

        return false;
    }
}
