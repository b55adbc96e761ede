using System.Numerics;

namespace Hypervisor.Server.Scheduling.Fleets;

/// <summary>
/// For each row where it is in the one list that has it, or why it does not fit: two bytes, for there is one for each row and shape of request, and
/// looking at one is what a change of a row costs a shape. Handed out by <see cref="RowStateBlocks"/>.
/// </summary>
internal sealed class RowStates(RowStateBlock block, int lane)
{
    /// <summary>From here on it is a verdict; below, of a row that fits, its position on the heap of a <see cref="CandidateList"/>, or <see cref="Sorted"/>.</summary>
    public const ushort Unlisted = 0xff00;

    /// <summary>It is among those that have not changed since the list was made.</summary>
    public const ushort Sorted = 0xfeff;

    public RowStateBlock Block => block;

    public int Lane => lane;

    public ushort this[int row]
    {
        get => block.Cells[(row * RowStateBlock.Lanes) + lane];
        set => block.Cells[(row * RowStateBlock.Lanes) + lane] = value;
    }

    public byte VerdictOf(int row) => this[row] is >= Unlisted and var verdict ? (byte)verdict : Verdicts.Fits;

    /// <summary>Of a row that is in no list.</summary>
    public void SetVerdict(int row, byte verdict) => this[row] = (ushort)(Unlisted | verdict);
}

/// <summary>
/// What some shapes have of each row, side by side: a row that changed is looked at by one shape after the other, and the first has brought into the
/// processor's cache what the next ones read. Each by itself would wait for memory, which in a large fleet was most of a decision.
/// </summary>
internal sealed class RowStateBlock
{
    /// <summary>A cache line of them.</summary>
    public const int Lanes = 32;

    private uint _used;

    /// <summary>Row by row.</summary>
    public ushort[] Cells { get; private set; } = [];

    public bool IsFull => _used == uint.MaxValue;

    public bool IsEmpty => _used == 0;

    public int Take()
    {
        var lane = BitOperations.TrailingZeroCount(~_used);
        _used |= 1u << lane;
        return lane;
    }

    public void GiveBack(int lane)
    {
        _used &= ~(1u << lane);
        for (var cell = lane; cell < Cells.Length; cell += Lanes)
        {
            Cells[cell] = RowStates.Unlisted | Verdicts.NoNode;
        }
    }

    public void Grow(int rows)
    {
        var before = Cells.Length;
        if (before < rows * Lanes)
        {
            var cells = GC.AllocateUninitializedArray<ushort>(rows * Lanes);
            Cells.CopyTo(cells, 0);
            Array.Fill(cells, (ushort)(RowStates.Unlisted | Verdicts.NoNode), before, cells.Length - before);
            Cells = cells;
        }
    }
}

/// <summary>Hands out states, and takes back those of shapes that are forgotten.</summary>
internal sealed class RowStateBlocks
{
    private readonly List<RowStateBlock> _blocks = [];

    public RowStates Take()
    {
        var block = _blocks.Find(block => !block.IsFull);
        if (block is null)
        {
            _blocks.Add(block = new());
        }

        return new(block, block.Take());
    }

    /// <param name="states">Not to be used any more.</param>
    public void GiveBack(RowStates states)
    {
        states.Block.GiveBack(states.Lane);
        if (states.Block.IsEmpty)
        {
            _blocks.Remove(states.Block);
        }
    }
}
