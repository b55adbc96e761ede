using System.CommandLine;
using System.Globalization;
using Grpc.Core;
using Hypervisor.Ctl.Errors;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Ctl.Commands;

/// <summary>--stale: how fresh the answer of a reading command has to be, and how old it is.</summary>
internal sealed class Freshness
{
    public Option<bool> Option { get; } = new("--stale")
    {
        Description = "Answer from the server's memory without asking the store; says how old that is",
    };

    /// <exception cref="CtlException">Together with --watch, which is as fresh as the server.</exception>
    public Consistency Of(Invocation invocation) => !invocation.Get(Option) ? Consistency.Unspecified
        : invocation.Streaming ? throw CtlException.Usage("--stale and --watch do not go together.", "Leave one of them out.")
        : Consistency.Stale;

    /// <summary>A call whose answer has its age in a header.</summary>
    public async Task<T> CallAsync<T>(Invocation invocation, Func<CallOptions, AsyncUnaryCall<T>> call, CancellationToken cancellationToken)
    {
        string? age = null;
        var answer = await invocation.Connection.CallAsync(call, cancellationToken, headers => age = headers.GetValue("view-age"));
        if (double.TryParse(age, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var seconds))
        {
            Tell(invocation, TimeSpan.FromSeconds(seconds));
        }

        return answer;
    }

    /// <summary>On standard error: what a script reads is the answer itself.</summary>
    public void Tell(Invocation invocation, ListMeta? list)
    {
        if (list?.Age is { } age)
        {
            Tell(invocation, age.ToTimeSpan());
        }
    }

    private void Tell(Invocation invocation, TimeSpan age)
    {
        if (invocation.Get(Option))
        {
            invocation.Environment.Error.WriteLine(string.Create(CultureInfo.InvariantCulture, $"As of {age.TotalSeconds:0.0} s ago."));
        }
    }
}
