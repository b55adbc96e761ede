using System.CommandLine;
using Hypervisor.Ctl.Errors;

namespace Hypervisor.Ctl.Commands.Instances;

/// <summary>--wait, --no-wait and --timeout.</summary>
internal sealed class WaitOptions
{
    private readonly Option<bool> _wait = CommonOptions.Wait();
    private readonly Option<bool> _noWait = CommonOptions.NoWait();
    private readonly Option<TimeSpan?> _timeout = CommonOptions.Timeout();

    public void AddTo(Command command)
    {
        command.Add(_wait);
        command.Add(_noWait);
        command.Add(_timeout);
    }

    /// <returns>Whether to wait, and how long.</returns>
    public bool Read(Invocation invocation, out TimeSpan timeout)
    {
        timeout = invocation.Get(_timeout) ?? Limits.DefaultWait;
        if (invocation.Get(_noWait) && invocation.Get(_wait))
        {
            throw CtlException.Usage("--wait and --no-wait contradict each other.");
        }

        // "--wait=false" says the same as "--no-wait".
        return !invocation.Get(_noWait) && (!invocation.Has(_wait) || invocation.Get(_wait));
    }
}
