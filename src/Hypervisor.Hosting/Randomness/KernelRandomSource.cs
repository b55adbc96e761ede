using System.Runtime.InteropServices;

namespace Hypervisor.Hosting.Randomness;

/// <summary>
/// getrandom(2). The framework's own generator is OpenSSL's, whose loading alone takes longer than a request of the command line and
/// keeps 3.5 MB resident in an agent.
/// </summary>
public sealed partial class KernelRandomSource : IRandomSource
{
    public void Fill(Span<byte> buffer)
    {
        while (buffer.Length > 0)
        {
            // Only an interrupted large read returns less than asked for; see the manual page.
            var read = GetRandom(buffer, (nuint)buffer.Length, 0);
            if (read < 0)
            {
                throw new InvalidOperationException($"getrandom failed: {Marshal.GetLastPInvokeErrorMessage()}.");
            }

            buffer = buffer[(int)read..];
        }
    }

    [LibraryImport("libc", EntryPoint = "getrandom", SetLastError = true)]
    private static partial nint GetRandom(Span<byte> buffer, nuint count, uint flags);
}
