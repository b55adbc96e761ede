using Hypervisor.Agent.Native;
using Xunit;

namespace Hypervisor.Tests.Agent.Native;

/// <summary>Protects: no page is given back that could not be read again from the program's file.</summary>
public sealed class ProgramPagesTests
{
    [Fact]
    public void Only_unwritten_read_only_pages_of_the_program_itself_count()
    {
        string[] smaps =
        [
            .. Mapping("00400000-00500000 r--p 00000000 fe:01 42", "/bin/program", dirtyKb: 0),
            .. Mapping("00500000-00900000 r-xp 00100000 fe:01 42", "/bin/program", dirtyKb: 0),
            .. Mapping("00900000-00910000 r--p 00500000 fe:01 42", "/bin/program", dirtyKb: 8), // written by the loader
            .. Mapping("00910000-00a00000 rw-p 00510000 fe:01 42", "/bin/program", dirtyKb: 0),
            .. Mapping("7f0000000000-7f0000010000 r-xp 00000000 fe:01 43", "/lib/library.so", dirtyKb: 0),
            .. Mapping("7f0000020000-7f0000030000 r--p 00000000 00:00 0", "", dirtyKb: 0),
        ];

        Assert.Equal([(0x400000, 0x100000), (0x500000, 0x400000)], ProgramPages.ReadOnlyMappings(smaps, "/bin/program"));
    }

    private static string[] Mapping(string range, string path, int dirtyKb) =>
        [$"{range}                   {path}", "Size:               1024 kB", "Rss:                 512 kB", $"Private_Dirty:       {dirtyKb,3} kB", "VmFlags: rd ex mr mw me"];
}
