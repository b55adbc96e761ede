using System.Globalization;
using System.Text;

namespace Hypervisor.Server.Images.Archives;

/// <summary>What extended headers say about the entry that follows them. Each thing may be said once.</summary>
internal sealed class TarExtensions(string what)
{
    private bool _hasPax;

    public string? Path { get; private set; }

    public string? LinkPath { get; private set; }

    public long? Size { get; private set; }

    /// <param name="type">'x' for pax records, 'L' and 'K' for GNU's long name and long link.</param>
    public void Add(char type, ReadOnlySpan<byte> data)
    {
        switch (type)
        {
            case 'L':
                Path = Once(Path, GnuText(data));
                break;
            case 'K':
                LinkPath = Once(LinkPath, GnuText(data));
                break;
            default:
                if (_hasPax)
                {
                    throw Refuse("describes one entry twice");
                }

                _hasPax = true;
                foreach (var (key, value) in Records(data, what))
                {
                    Apply(key, value);
                }

                break;
        }
    }

    /// <summary>Archives made from git carry a comment for all entries; anything else there would change entries behind their backs.</summary>
    public static void RequireHarmlessGlobal(ReadOnlySpan<byte> data, string what)
    {
        foreach (var (key, _) in Records(data, what))
        {
            if (key != "comment")
            {
                throw new InvalidImageException($"{what} sets \"{ArchivePath.Show(key)}\" for all entries at once.");
            }
        }
    }

    private void Apply(string key, string value)
    {
        switch (key)
        {
            case "path":
                Path = Once(Path, value);
                break;
            case "linkpath":
                LinkPath = Once(LinkPath, value);
                break;
            case "size":
                Size = long.TryParse(value, NumberStyles.None, CultureInfo.InvariantCulture, out var size) ? size : throw Refuse("has an invalid pax size");
                break;
            case var sparse when sparse.StartsWith("GNU.sparse.", StringComparison.Ordinal):
                throw Refuse("holds a sparse file; make it without --sparse");
        }
    }

    private string Once(string? present, string value) => present is null
        ? value.Length is > 0 and < Limits.Images.PathBytes ? value : throw Refuse("has an extended name that is empty or longer than 4095 bytes")
        : throw Refuse($"names one entry twice (\"{ArchivePath.Show(present)}\" and \"{ArchivePath.Show(value)}\")");

    private InvalidImageException Refuse(string why) => new($"{what} {why}.");

    private static string GnuText(ReadOnlySpan<byte> data)
    {
        var end = data.IndexOf((byte)0);
        return Encoding.Latin1.GetString(end < 0 ? data : data[..end]);
    }

    /// <summary>Records "LENGTH key=value\n", where LENGTH counts itself.</summary>
    private static List<(string Key, string Value)> Records(ReadOnlySpan<byte> data, string what)
    {
        List<(string Key, string Value)> records = [];
        HashSet<string> keys = new(StringComparer.Ordinal);
        while (data.Length > 0)
        {
            var space = data.IndexOf((byte)' ');
            if (space is <= 0 or > 7
                || !int.TryParse(Encoding.Latin1.GetString(data[..space]), NumberStyles.None, CultureInfo.InvariantCulture, out var length)
                || length <= space + 2 || length > data.Length || data[length - 1] != '\n'
                || data[(space + 1)..(length - 1)].IndexOf((byte)'=') is var equals && equals <= 0)
            {
                throw new InvalidImageException($"{what} has a malformed pax record.");
            }

            var record = Encoding.Latin1.GetString(data[(space + 1)..(length - 1)]);
            var (key, value) = (record[..equals], record[(equals + 1)..]);
            if (!keys.Add(key))
            {
                throw new InvalidImageException($"{what} has the pax record \"{ArchivePath.Show(key)}\" twice for one entry.");
            }

            // Extended attributes are bytes; a NUL in a name would end it for some readers and not for others.
            if (value.Contains('\0') && !key.StartsWith("SCHILY.xattr.", StringComparison.Ordinal) && !key.StartsWith("LIBARCHIVE.xattr.", StringComparison.Ordinal))
            {
                throw new InvalidImageException($"{what} has a NUL in the pax record \"{ArchivePath.Show(key)}\".");
            }

            records.Add((key, value));
            data = data[length..];
        }

        return records;
    }
}
