namespace Hypervisor.TestCluster.Traces;

/// <summary>One call as strace saw it begin and end.</summary>
/// <param name="File">What the first argument's descriptor is open on; empty if it has none.</param>
/// <param name="Data">The written text with strace's escapes; empty for other calls.</param>
/// <param name="Began">Line of the trace: a smaller one happened before.</param>
/// <param name="Ended">Line of the trace; <see cref="int.MaxValue"/> when it never came back.</param>
/// <param name="Result">Negative when it failed or never came back.</param>
/// <param name="Injected">strace answered instead of the kernel: the call had no effect.</param>
internal sealed record SystemCall(int Thread, string Name, string File, string Data, int Began, int Ended, long Result, bool Injected)
{
    public bool IsWrite => Name is "write" or "pwrite64";

    public bool IsSync => Name is "fdatasync" or "fsync";

    /// <summary>The kernel did it.</summary>
    public bool Succeeded => Result >= 0 && !Injected;
}
