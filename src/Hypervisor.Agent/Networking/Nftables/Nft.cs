using System.Runtime.InteropServices;
using System.Text;
using Hypervisor.Agent.Drivers;

namespace Hypervisor.Agent.Networking.Nftables;

/// <summary>nftables through its own library (libnftables(3)), in the network namespace of the thread that created this.</summary>
internal sealed unsafe partial class Nft : IDisposable
{
    private const string Library = "libnftables.so.1";
    private readonly nint _context;

    private Nft(nint context) => _context = context;

    /// <exception cref="DriverException">NftablesMissing: the library is not installed.</exception>
    public static Nft Open()
    {
        try
        {
            var context = ContextNew(0);
            if (context == 0)
            {
                throw new IOException("libnftables gave no context: out of memory or descriptors.");
            }

            if (ContextBufferOutput(context) != 0 || ContextBufferError(context) != 0)
            {
                ContextFree(context);
                throw new IOException("libnftables gave no buffers: out of memory.");
            }

            return new(context);
        }
        catch (DllNotFoundException missing)
        {
            throw new DriverException("NftablesMissing", $"{Library} is not on this node: install Debian's package libnftables1.", permanent: false, missing);
        }
    }

    /// <summary>Runs commands as one transaction: all or none.</summary>
    /// <returns>What they print.</returns>
    /// <exception cref="IOException">nftables refused; in its own words.</exception>
    public string Run(string commands)
    {
        fixed (byte* text = Encoding.UTF8.GetBytes(commands + '\0'))
        {
            var result = RunCommand(_context, text);

            // Both are read every time: a buffer that is not read is not emptied.
            var output = Marshal.PtrToStringUTF8(ContextGetOutput(_context)) ?? "";
            var error = Marshal.PtrToStringUTF8(ContextGetError(_context)) ?? "";
            return result == 0 ? output : throw new NftException(error.Trim().ReplaceLineEndings(" "));
        }
    }

    public void Dispose() => ContextFree(_context);

    [LibraryImport(Library, EntryPoint = "nft_ctx_new")]
    private static partial nint ContextNew(uint flags);

    [LibraryImport(Library, EntryPoint = "nft_ctx_free")]
    private static partial void ContextFree(nint context);

    [LibraryImport(Library, EntryPoint = "nft_ctx_buffer_output")]
    private static partial int ContextBufferOutput(nint context);

    [LibraryImport(Library, EntryPoint = "nft_ctx_buffer_error")]
    private static partial int ContextBufferError(nint context);

    [LibraryImport(Library, EntryPoint = "nft_ctx_get_output_buffer")]
    private static partial nint ContextGetOutput(nint context);

    [LibraryImport(Library, EntryPoint = "nft_ctx_get_error_buffer")]
    private static partial nint ContextGetError(nint context);

    [LibraryImport(Library, EntryPoint = "nft_run_cmd_from_buffer")]
    private static partial int RunCommand(nint context, byte* commands);
}

/// <summary>nftables refused a transaction; nothing of it took effect.</summary>
internal sealed class NftException(string error) : IOException($"nftables: {error}");
