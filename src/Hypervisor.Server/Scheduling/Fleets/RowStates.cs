namespace Hypervisor.Server.Scheduling.Fleets;

/// <summary>
/// For each row where it is in the one heap that has it, or why it does not fit: two bytes, for there is one for each row and shape of request, and
/// looking at one is what a change of a row costs a shape.
/// </summary>
internal sealed class RowStates
{
    /// <summary>From here on it is a verdict; below, a position of a row that fits.</summary>
    public const ushort Unlisted = 0xff00;

    private ushort[] _states = [];

    public ushort this[int row]
    {
        get => _states[row];
        set => _states[row] = value;
    }

    public byte VerdictOf(int row) => _states[row] >= Unlisted ? (byte)_states[row] : Verdicts.Fits;

    /// <summary>Of a row that is in no heap.</summary>
    public void SetVerdict(int row, byte verdict) => _states[row] = (ushort)(Unlisted | verdict);

    public void Grow(int rows)
    {
        var before = _states.Length;
        if (before < rows)
        {
            Array.Resize(ref _states, rows);
            Array.Fill(_states, (ushort)(Unlisted | Verdicts.NoNode), before, rows - before);
        }
    }
}
