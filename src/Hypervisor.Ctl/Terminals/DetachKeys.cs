namespace Hypervisor.Ctl.Terminals;

/// <summary>Ctrl-P Ctrl-Q in what is typed, wherever its pieces begin and end: a slow line or a paste brings both keys in one.</summary>
internal sealed class DetachKeys
{
    private const byte ControlP = 0x10;
    private const byte ControlQ = 0x11;

    private bool _afterP;

    /// <returns>How much of the piece comes before the keys; null when they are not there.</returns>
    public int? Find(ReadOnlySpan<byte> piece)
    {
        for (var index = 0; index < piece.Length; index++)
        {
            if (_afterP && piece[index] == ControlQ)
            {
                return Math.Max(index - 1, 0);
            }

            _afterP = piece[index] == ControlP;
        }

        return null;
    }
}
