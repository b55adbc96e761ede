namespace Hypervisor.Ctl.Terminals;

/// <summary>Ctrl-P Ctrl-Q, as in Docker: two keys, since one alone means something to too many programs.</summary>
internal sealed class DetachKeys
{
    private const byte ControlP = 0x10;
    private const byte ControlQ = 0x11;

    private bool _afterP;

    /// <summary>
    /// Whether what was typed leaves the console. Typed by hand the two keys come one by one or at once; what else comes in one piece was
    /// pasted, and means itself.
    /// </summary>
    public bool Leave(ReadOnlySpan<byte> typed)
    {
        if ((_afterP && typed is [ControlQ]) || typed is [ControlP, ControlQ])
        {
            return true;
        }

        _afterP = typed is [.., ControlP];
        return false;
    }
}
