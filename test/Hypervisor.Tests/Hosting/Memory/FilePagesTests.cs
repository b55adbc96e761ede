using Hypervisor.Hosting.Memory;
using Xunit;

namespace Hypervisor.Tests.Hosting.Memory;

/// <summary>Protects: no page is given back that could not be read again from its file.</summary>
public sealed class FilePagesTests
{
    [Fact]
    public void Only_unwritten_read_only_pages_of_files_count()
    {
        string[] smaps =
        [
            .. Mapping("00400000-00500000 r--p 00000000 fe:01 42", "/bin/program"),
            .. Mapping("00500000-00900000 r-xp 00100000 fe:01 42", "/bin/program"),
            .. Mapping("00900000-00910000 r--p 00500000 fe:01 42", "/bin/program", dirtyKb: 8), // written by the loader
            .. Mapping("00910000-00a00000 rw-p 00510000 fe:01 42", "/bin/program"),
            .. Mapping("7f0000000000-7f0000010000 r-xp 00000000 fe:01 43", "/lib/library of mine.so"),
            .. Mapping("7f0000010000-7f0000018000 r--p 00010000 fe:01 43", "/lib/library of mine.so", swapKb: 8), // likewise, and swapped out
            .. Mapping("7f0000020000-7f0000030000 r--p 00000000 00:00 0", ""),
            .. Mapping("7f0000030000-7f0000040000 r-xs 00000000 00:01 7", "/memfd:doublemapper (deleted)"),
            .. Mapping("7f0000050000-7f0000060000 r-xp 00000000 00:00 0", "[vdso]"),
        ];

        Assert.Equal(
            [(0x400000L, 0x100000UL), (0x500000L, 0x400000UL), (0x7f0000000000L, 0x10000UL)],
            FilePages.ReadOnlyMappings(smaps).Select(mapping => ((long)mapping.Start, (ulong)mapping.Length)));
    }

    [Fact]
    public void A_program_goes_on_after_its_pages_were_given_back()
    {
        Assert.NotEmpty(FilePages.ReadOnlyMappings(File.ReadLines("/proc/self/smaps")));
        FilePages.Release();
        Assert.Equal("still here", string.Join(' ', "still", "here"));
    }

    private static string[] Mapping(string range, string path, int dirtyKb = 0, int swapKb = 0) =>
    [
        $"{range}                   {path}", "Size:               1024 kB", "Rss:                 512 kB", $"Private_Dirty:       {dirtyKb,3} kB",
        $"Anonymous:           {dirtyKb,3} kB", $"Swap:                {swapKb,3} kB", "VmFlags: rd ex mr mw me",
    ];
}
