using System.Buffers;
using System.CommandLine;
using System.CommandLine.Parsing;
using System.Globalization;
using Hypervisor.Ctl.Errors;
using Hypervisor.Ctl.Output;
using Hypervisor.Ctl.Specs;

namespace Hypervisor.Ctl.Commands;

/// <summary>Options that several commands share; each call makes a fresh one, since an option belongs to one command.</summary>
internal static class CommonOptions
{
    private static readonly SearchValues<char> NumberCharacters = SearchValues.Create("0123456789.");

    public static Option<OutputFormat> Output()
    {
        var option = new Option<OutputFormat>("--output", "-o")
        {
            Description = "table, wide, json, yaml or name (json and yaml exactly as the API gives it)",
            HelpName = "FORMAT",
            CustomParser = static result => result.Tokens[0].Value switch
            {
                "table" => OutputFormat.Table,
                "wide" => OutputFormat.Wide,
                "json" => OutputFormat.Json,
                "yaml" => OutputFormat.Yaml,
                "name" => OutputFormat.Name,
                var other => Fail<OutputFormat>(result, $"-o '{other}' is not one of table, wide, json, yaml, name."),
            },
        };
        option.CompletionSources.Clear();
        option.CompletionSources.Add("table", "wide", "json", "yaml", "name");
        return option;
    }

    public static Option<bool> Watch() => new("--watch", "-w") { Description = "Go on and print every change" };

    public static Option<string> Selector() => new("--selector", "-l")
    {
        Description = "Only objects with these labels",
        HelpName = "a=b,c!=d,e in (f,g)",
    };

    public static Option<bool> AllProjects() => new("--all-projects", "-A") { Description = "Objects of every project" };

    public static Option<string> RequestId() => new("--request-id")
    {
        Description = "Repeating a command with the same id has no second effect (default: a random one)",
        HelpName = "ID",
    };

    public static Option<bool> Wait() => new("--wait")
    {
        Description = "Wait until it is done (the default; --no-wait returns at once)",
    };

    public static Option<bool> NoWait() => new("--no-wait") { Description = "Return once the server has accepted the request" };

    public static Option<TimeSpan?> Timeout() => new("--timeout")
    {
        Description = "How long to wait (default 60s); exit code 4 afterwards",
        HelpName = "DURATION",
        CustomParser = static result => ParseDuration(result),
    };

    public delegate bool AmountParser(string text, out long amount);

    public static Option<long> Amount(string name, string description, string help, AmountParser parse) => new(name)
    {
        Description = description,
        HelpName = help,
        CustomParser = result => parse(result.Tokens[0].Value, out var amount)
            ? amount
            : Fail<long>(result, $"{name}: '{result.Tokens[0].Value}' is no amount: {description}."),
    };

    /// <summary>An <see cref="AmountParser"/> of bytes.</summary>
    public static bool PlainIsMiB(string text, out long bytes) => Quantity.TryBytes(text, 1L << 20, out bytes);

    /// <summary>An <see cref="AmountParser"/> of bytes per second.</summary>
    public static bool PlainIsMiBPerSecond(string text, out long bytes) => Quantity.TryBytesPerSecond(text, 1L << 20, out bytes);

    public static TimeSpan ParseDuration(ArgumentResult result)
    {
        var text = result.Tokens[0].Value;
        var end = text.AsSpan().IndexOfAnyExcept(NumberCharacters);
        var unit = end < 0 ? "s" : text[end..];
        var seconds = unit switch { "ms" => 0.001, "s" => 1, "m" => 60, "h" => 3600, _ => double.NaN };
        return double.TryParse(end < 0 ? text : text[..end], NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var number)
            && number * seconds is > 0 and <= 86_400
            ? TimeSpan.FromSeconds(number * seconds)
            : Fail<TimeSpan>(result, $"'{text}' is no duration above 0 and up to 24h; write it as 500ms, 30s, 5m or 1h.");
    }

    public static T Fail<T>(ArgumentResult result, string message)
    {
        result.AddError(message);
        return default!;
    }

    /// <summary>One of an enumeration's words.</summary>
    public static Option<T> Choice<T>(string name, string description)
        where T : struct, Enum
    {
        var option = new Option<T>(name)
        {
            Description = description,
            HelpName = string.Join('|', EnumWords.Words<T>()),
            CustomParser = result =>
            {
                try
                {
                    return EnumWords.Parse<T>(name)(result.Tokens[0].Value);
                }
                catch (CtlException exception)
                {
                    return Fail<T>(result, exception.Message);
                }
            },
        };
        option.CompletionSources.Clear();
        option.CompletionSources.Add([.. EnumWords.Words<T>()]);
        return option;
    }
}
