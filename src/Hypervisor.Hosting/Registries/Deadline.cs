namespace Hypervisor.Hosting.Registries;

/// <summary>Cancelled by who waits, or after a time that can be set anew.</summary>
internal sealed class Deadline : IDisposable
{
    private readonly CancellationTokenSource _source;
    private readonly CancellationTokenRegistration _caller;

    public Deadline(TimeSpan after, TimeProvider time, CancellationToken cancellationToken)
    {
        // A linked source has no clock of its own.
        _source = new CancellationTokenSource(after, time);
        _caller = cancellationToken.UnsafeRegister(static state => ((CancellationTokenSource)state!).Cancel(), _source);
    }

    public CancellationToken Token => _source.Token;

    public void Set(TimeSpan after) => _source.CancelAfter(after);

    public void Dispose()
    {
        _caller.Dispose();
        _source.Dispose();
    }
}
