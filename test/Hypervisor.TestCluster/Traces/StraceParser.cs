using System.Globalization;
using System.Text.RegularExpressions;

namespace Hypervisor.TestCluster.Traces;

/// <summary>Reads what <c>strace -f -y -o FILE</c> wrote: the calls of all followed threads in one order.</summary>
internal static partial class StraceParser
{
    /// <exception cref="FormatException">A line that is none of strace's, or a call that ends without having begun.</exception>
    public static IReadOnlyList<SystemCall> Parse(IEnumerable<string> lines)
    {
        List<SystemCall> calls = [];
        Dictionary<int, int> unfinished = [];
        var number = 0;
        foreach (var line in lines)
        {
            number++;
            if (Head().Match(line) is not { Success: true } head)
            {
                throw new FormatException($"line {number} is none of strace -f: {line}");
            }

            var thread = int.Parse(head.Groups["thread"].ValueSpan, CultureInfo.InvariantCulture);
            var rest = head.Groups["rest"].Value;

            // Signals, stops and ends of threads.
            if (rest.StartsWith("---", StringComparison.Ordinal) || rest.StartsWith("+++", StringComparison.Ordinal))
            {
                continue;
            }

            if (rest.StartsWith("<... ", StringComparison.Ordinal))
            {
                // What was under way when strace came has no beginning; it is none of the calls that count.
                if (unfinished.Remove(thread, out var index))
                {
                    calls[index] = Ended(calls[index], rest, number);
                }

                continue;
            }

            var call = Begun(thread, rest, number);
            if (rest.EndsWith("<unfinished ...>", StringComparison.Ordinal))
            {
                unfinished[thread] = calls.Count;
                calls.Add(call);
            }
            else
            {
                calls.Add(Ended(call, rest, number));
            }
        }

        return calls;
    }

    private static SystemCall Begun(int thread, string rest, int number)
    {
        var open = rest.IndexOf('(', StringComparison.Ordinal);
        if (open < 0)
        {
            throw new FormatException($"line {number} is no call: {rest}");
        }

        var file = Descriptor().Match(rest, open + 1);
        var data = rest.IndexOf(", \"", open, StringComparison.Ordinal);
        var end = data < 0 ? -1 : rest.LastIndexOf('"');
        var text = end > data ? rest[(data + 3)..end] : "";
        return new SystemCall(thread, rest[..open], file.Groups["file"].Value, text, number, int.MaxValue, -1, false);
    }

    private static SystemCall Ended(SystemCall call, string rest, int number)
    {
        var result = Result().Match(rest);
        return result.Success
            ? call with
            {
                Ended = number,
                Result = long.Parse(result.Groups["result"].ValueSpan, CultureInfo.InvariantCulture),
                Injected = rest.EndsWith("(INJECTED)", StringComparison.Ordinal),
            }
            : call; // "= ?": the thread was killed in it.
    }

    [GeneratedRegex(@"^(?<thread>\d+)\s+(?<rest>.*)$", RegexOptions.Singleline)]
    private static partial Regex Head();

    [GeneratedRegex(@"\G\d+<(?<file>[^>]*)>")]
    private static partial Regex Descriptor();

    [GeneratedRegex(@"\)\s+= (?<result>-?\d+)(?: [^""]*)?$")]
    private static partial Regex Result();
}
