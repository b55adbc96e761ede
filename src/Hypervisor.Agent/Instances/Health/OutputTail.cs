using System.Globalization;
using System.Text;

namespace Hypervisor.Agent.Instances.Health;

/// <summary>The end of what a process wrote, as part of a sentence: one line, nothing in it that a terminal would obey.</summary>
internal sealed class OutputTail(int bytes)
{
    private readonly Lock _gate = new();
    private readonly byte[] _kept = new byte[bytes];
    private int _length;
    private bool _cut;

    public void Add(ReadOnlySpan<byte> data)
    {
        lock (_gate)
        {
            _cut |= _length + data.Length > _kept.Length;
            data = data.Length > _kept.Length ? data[^_kept.Length..] : data;
            var stays = Math.Min(_length, _kept.Length - data.Length);
            _kept.AsSpan(_length - stays, stays).CopyTo(_kept);
            data.CopyTo(_kept.AsSpan(stays));
            _length = stays + data.Length;
        }
    }

    /// <summary>The end of both, the other's last.</summary>
    public OutputTail Then(OutputTail other)
    {
        var both = new OutputTail(_kept.Length);
        lock (_gate)
        {
            both.Add(_kept.AsSpan(0, _length));
            both._cut |= _cut;
        }

        lock (other._gate)
        {
            both.Add(other._kept.AsSpan(0, other._length));
            both._cut |= other._cut;
        }

        return both;
    }

    /// <summary>": " and the text; empty when there is none.</summary>
    public override string ToString()
    {
        var text = new StringBuilder(_kept.Length);
        lock (_gate)
        {
            var kept = _kept.AsSpan(0, _length);
            while (_cut && kept.Length > 0 && (kept[0] & 0xC0) == 0x80)
            {
                // The rest of a character whose beginning was cut off.
                kept = kept[1..];
            }

            foreach (var rune in Encoding.UTF8.GetString(kept).EnumerateRunes())
            {
                if (IsPrintable(Rune.GetUnicodeCategory(rune)))
                {
                    text.Append(rune.ToString());
                }
                else if (text.Length > 0 && text[^1] != ' ')
                {
                    text.Append(' ');
                }
            }
        }

        var line = text.ToString().TrimEnd();
        return line.Length == 0 ? "" : _cut ? $": …{line}" : $": {line}";
    }

    private static bool IsPrintable(UnicodeCategory category) => category is not (
        UnicodeCategory.Control or UnicodeCategory.Format or UnicodeCategory.OtherNotAssigned or UnicodeCategory.PrivateUse
        or UnicodeCategory.LineSeparator or UnicodeCategory.ParagraphSeparator or UnicodeCategory.SpaceSeparator);
}
