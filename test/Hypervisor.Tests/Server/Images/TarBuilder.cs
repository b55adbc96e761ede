using System.Text;

namespace Hypervisor.Tests.Server.Images;

/// <summary>Writes tar archives as hostile as a test wants: every field is what the test says, the checksum is right.</summary>
internal sealed class TarBuilder
{
    private readonly List<byte> _bytes = [];

    public TarBuilder File(string name, byte[] content) => Entry(name, '0', content);

    public TarBuilder File(string name, string content) => Entry(name, '0', Encoding.UTF8.GetBytes(content));

    public TarBuilder Directory(string name) => Entry(name, '5');

    public TarBuilder Link(string name, string target, char type = '2') => Entry(name, type, link: target);

    public TarBuilder Device(string name, char type, int major, int minor) => Entry(name, type, major: major, minor: minor);

    /// <param name="size">What the header claims; by default the content's length.</param>
    public TarBuilder Entry(
        string name, char type, byte[]? content = null, string link = "", int major = 0, int minor = 0, long? size = null)
    {
        content ??= [];
        var header = new byte[512];
        Put(header, 0, name);
        Put(header, 100, "0000644\0");
        Put(header, 108, "0000000\0");
        Put(header, 116, "0000000\0");
        Put(header, 124, Convert.ToString(size ?? content.Length, 8).PadLeft(11, '0') + "\0");
        Put(header, 136, "00000000000\0");
        Put(header, 148, "        ");
        header[156] = (byte)type;
        Put(header, 157, link);
        Put(header, 257, "ustar\0" + "00");
        Put(header, 329, Convert.ToString(major, 8).PadLeft(7, '0') + "\0");
        Put(header, 337, Convert.ToString(minor, 8).PadLeft(7, '0') + "\0");
        Put(header, 148, Convert.ToString(header.Sum(value => value), 8).PadLeft(6, '0') + "\0 ");
        _bytes.AddRange(header);
        _bytes.AddRange(content);
        _bytes.AddRange(new byte[-content.Length & 511]);
        return this;
    }

    public TarBuilder Pax(params (string Key, string Value)[] records) => Entry("pax", 'x', Records(records));

    public TarBuilder Raw(byte[] bytes)
    {
        _bytes.AddRange(bytes);
        return this;
    }

    public byte[] ToArray() => [.. _bytes, .. new byte[1024]];

    public byte[] Unended() => [.. _bytes];

    public static byte[] Records(params (string Key, string Value)[] records) => Encoding.Latin1.GetBytes(string.Concat(records.Select(record =>
    {
        var rest = $" {record.Key}={record.Value}\n";
        var length = rest.Length + 1;
        while (length != rest.Length + length.ToString().Length)
        {
            length++;
        }

        return length + rest;
    })));

    private static void Put(byte[] header, int offset, string text) => Encoding.Latin1.GetBytes(text).CopyTo(header, offset);
}
