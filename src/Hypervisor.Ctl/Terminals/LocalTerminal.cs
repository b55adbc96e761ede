using System.Runtime.InteropServices;

namespace Hypervisor.Ctl.Terminals;

/// <summary>The terminal this program was started from, passed through to a remote one. Its settings are put back on every way out.</summary>
internal sealed partial class LocalTerminal : IDisposable
{
    private const int Input = 0;
    private const int Now = 0;
    private const ulong GetWindowSize = 0x5413;

    /// <summary>struct termios is 60 bytes with glibc, and fits into this everywhere.</summary>
    private const int SettingsBytes = 256;

    private readonly byte[] _settings = new byte[SettingsBytes];
    private readonly List<PosixSignalRegistration> _signals = [];
    private readonly Lock _gate = new();
    private bool _raw;

    private LocalTerminal()
    {
    }

    /// <summary>Null when standard input is none.</summary>
    public static LocalTerminal? Open()
    {
        var terminal = new LocalTerminal();
        return IsTerminal(Input) == 1 && GetSettings(Input, terminal._settings) == 0 ? terminal : null;
    }

    /// <summary>Zero by zero when it does not say.</summary>
    public static (int Columns, int Rows) Size
    {
        get
        {
            Span<ushort> size = stackalloc ushort[4];
            return Control(Input, GetWindowSize, size) == 0 ? (size[1], size[0]) : (0, 0);
        }
    }

    /// <summary>Every key goes through as it is, the interrupt key too; a signal from elsewhere ends the program, tidily.</summary>
    /// <param name="resized">Called when the window's size has changed.</param>
    public void PassThrough(Action resized)
    {
        foreach (var signal in (ReadOnlySpan<PosixSignal>)[PosixSignal.SIGTERM, PosixSignal.SIGHUP, PosixSignal.SIGINT, PosixSignal.SIGQUIT])
        {
            _signals.Add(PosixSignalRegistration.Create(signal, context =>
            {
                // At once: nothing is buffered, and the runtime's own way out would wait for the read of the terminal.
                context.Cancel = true;
                Restore();
                ExitNow(128 + NumberOf(context.Signal));
            }));
        }

        _signals.Add(PosixSignalRegistration.Create(PosixSignal.SIGWINCH, _ => resized()));
        var raw = (byte[])_settings.Clone();
        MakeRaw(raw);
        lock (_gate)
        {
            _raw = SetSettings(Input, Now, raw) == 0;
        }
    }

    public void Dispose()
    {
        Restore();
        _signals.ForEach(signal => signal.Dispose());
    }

    public static int NumberOf(PosixSignal signal) => signal switch
    {
        PosixSignal.SIGHUP => 1,
        PosixSignal.SIGINT => 2,
        PosixSignal.SIGQUIT => 3,
        _ => 15,
    };

    private void Restore()
    {
        lock (_gate)
        {
            if (_raw)
            {
                _raw = false;
                _ = SetSettings(Input, Now, _settings);
            }
        }
    }

    [LibraryImport("libc", EntryPoint = "isatty", SetLastError = true)]
    private static partial int IsTerminal(int descriptor);

    [LibraryImport("libc", EntryPoint = "tcgetattr", SetLastError = true)]
    private static partial int GetSettings(int descriptor, Span<byte> settings);

    [LibraryImport("libc", EntryPoint = "tcsetattr", SetLastError = true)]
    private static partial int SetSettings(int descriptor, int when, ReadOnlySpan<byte> settings);

    [LibraryImport("libc", EntryPoint = "_exit")]
    private static partial void ExitNow(int code);

    [LibraryImport("libc", EntryPoint = "cfmakeraw")]
    private static partial void MakeRaw(Span<byte> settings);

    [LibraryImport("libc", EntryPoint = "ioctl", SetLastError = true)]
    private static partial int Control(int descriptor, ulong request, Span<ushort> size);
}
