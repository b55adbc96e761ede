namespace Hypervisor.Agent.Guests;

/// <summary>Where programs of VMMs are found: where the agent's own environment cannot lead elsewhere.</summary>
internal static class ProgramSearch
{
    /// <summary>The absolute path, or null when there is no such program.</summary>
    /// <param name="program">Absolute, or a name in <see cref="GuestProcess.SearchPath"/>.</param>
    public static string? Find(string program) => Path.IsPathRooted(program)
        ? IsProgram(program) ? program : null
        : GuestProcess.SearchPath.Split(':').Select(folder => Path.Combine(folder, program)).FirstOrDefault(IsProgram);

    private static bool IsProgram(string path) => File.Exists(path) && (File.GetUnixFileMode(path) & UnixFileMode.UserExecute) != 0;
}
