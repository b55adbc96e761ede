using Google.Protobuf.Reflection;
using Hypervisor.Ctl.Errors;

namespace Hypervisor.Ctl.Specs;

/// <summary>Enum values as people write them: "container" for INSTANCE_TYPE_CONTAINER.</summary>
internal static class EnumWords
{
    /// <summary>A parser of one flag's values.</summary>
    /// <exception cref="CtlException">No value has that name.</exception>
    public static Func<string, T> Parse<T>(string flag)
        where T : struct, Enum => text =>
    {
        // The generated members are the words without their prefix, in Pascal case.
        var word = text.Replace("-", "", StringComparison.Ordinal).Replace("_", "", StringComparison.Ordinal);
        return !int.TryParse(word, out _) && Enum.TryParse<T>(word, ignoreCase: true, out var value) && Convert.ToInt32(value, null) != 0
            ? value
            : throw CtlException.Usage($"{flag}: '{text}' is not one of {string.Join(", ", Words<T>())}.");
    };

    public static IEnumerable<string> Words<T>()
        where T : struct, Enum => Enum.GetValues<T>().Where(value => Convert.ToInt32(value, null) != 0).Select(value => value.ToString().ToLowerInvariant());

    /// <summary>The value's name in the contract for its full name or its short word, in any case; null when there is none.</summary>
    public static string? Find(EnumDescriptor type, string text)
    {
        var prefix = Prefix(type);
        return type.Values
            .FirstOrDefault(value => value.Name.Equals(text, StringComparison.Ordinal)
                || value.Name[prefix.Length..].Equals(text.Replace('-', '_'), StringComparison.OrdinalIgnoreCase))?.Name;
    }

    public static IEnumerable<string> Words(EnumDescriptor type) =>
        type.Values.Where(value => value.Number != 0).Select(value => value.Name[Prefix(type).Length..].ToLowerInvariant());

    // The style guide of protobuf: values carry the enum's name, the one with number 0 ends in UNSPECIFIED.
    private static string Prefix(EnumDescriptor type)
    {
        var zero = type.FindValueByNumber(0).Name;
        return zero[..^"UNSPECIFIED".Length];
    }
}
