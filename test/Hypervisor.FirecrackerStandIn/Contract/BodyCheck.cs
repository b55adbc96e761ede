using System.Text.Json;

namespace Hypervisor.FirecrackerStandIn.Contract;

/// <summary>Refuses what the contract does not name: unknown fields, missing ones, doubles, other types, values out of bounds.</summary>
internal static class BodyCheck
{
    /// <returns>What is wrong, or null.</returns>
    public static string? Check(JsonElement value, Shape shape, string where = "") => shape switch
    {
        ObjectShape expected => CheckObject(value, expected, where),
        TextShape text => value.ValueKind != JsonValueKind.String
            ? Wrong(value, where, "a string")
            : text.Values.Count == 0 || text.Values.Contains(value.GetString()!, text.IgnoresCase ? StringComparer.OrdinalIgnoreCase : StringComparer.Ordinal)
                ? null
                : $"unknown variant `{value.GetString()}`, expected one of {string.Join(", ", text.Values.Select(one => $"`{one}`"))}{At(where)}",
        FlagShape => value.ValueKind is JsonValueKind.True or JsonValueKind.False ? null : Wrong(value, where, "a boolean"),
        NumberShape number => value.ValueKind != JsonValueKind.Number || !value.TryGetInt64(out var count)
            ? Wrong(value, where, "an integer")
            : count >= number.Least && count <= number.Most ? null : $"invalid value: integer `{count}`, expected {number.Least} to {number.Most}{At(where)}",
        ListShape list => value.ValueKind != JsonValueKind.Array
            ? Wrong(value, where, "a sequence")
            : value.EnumerateArray().Select((item, index) => Check(item, list.Item, $"{where}[{index}]")).FirstOrDefault(problem => problem is not null),
        MapShape map => value.ValueKind != JsonValueKind.Object
            ? Wrong(value, where, "a map")
            : value.EnumerateObject().Select(property => Check(property.Value, map.Value, Inside(where, property.Name))).FirstOrDefault(problem => problem is not null),
        AnythingShape => value.ValueKind == JsonValueKind.Object ? null : Wrong(value, where, "a map"),
        _ => throw new InvalidOperationException($"no check for {shape}"),
    };

    private static string? CheckObject(JsonElement value, ObjectShape expected, string where)
    {
        if (value.ValueKind != JsonValueKind.Object)
        {
            return Wrong(value, where, "a struct");
        }

        var seen = new HashSet<string>(StringComparer.Ordinal);
        foreach (var property in value.EnumerateObject())
        {
            if (expected.Fields.FirstOrDefault(field => field.Name == property.Name) is not { } field)
            {
                return $"unknown field `{property.Name}`, expected one of {string.Join(", ", expected.Fields.Select(one => $"`{one.Name}`"))}{At(where)}";
            }

            if (!seen.Add(property.Name))
            {
                return $"duplicate field `{property.Name}`{At(where)}";
            }

            if (Check(property.Value, field.Shape, Inside(where, property.Name)) is { } problem)
            {
                return problem;
            }
        }

        return expected.Fields.FirstOrDefault(field => field.Required && !seen.Contains(field.Name)) is { } missing
            ? $"missing field `{missing.Name}`{At(where)}"
            : null;
    }

    private static string Wrong(JsonElement value, string where, string expected) => $"invalid type: {value.ValueKind}, expected {expected}{At(where)}";

    private static string At(string where) => where.Length == 0 ? "" : $" at {where}";

    private static string Inside(string where, string name) => where.Length == 0 ? name : $"{where}.{name}";
}
