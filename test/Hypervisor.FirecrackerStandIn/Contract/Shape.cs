namespace Hypervisor.FirecrackerStandIn.Contract;

/// <summary>What a JSON value may be.</summary>
internal abstract record Shape
{
    public static Shape Text { get; } = new TextShape([]);

    public static Shape Flag { get; } = new FlagShape();

    /// <summary>Any object.</summary>
    public static Shape Anything { get; } = new AnythingShape();

    public static Shape OneOf(params string[] values) => new TextShape(values);

    public static Shape Number(long least = 0, long most = long.MaxValue) => new NumberShape(least, most);

    public static Shape List(Shape item) => new ListShape(item);

    public static Shape Map(Shape value) => new MapShape(value);

    public static ObjectShape Object(params Field[] fields) => new(fields);
}

/// <param name="Values">Empty: any text.</param>
internal sealed record TextShape(IReadOnlyList<string> Values) : Shape
{
    /// <summary>Of the log's levels only.</summary>
    public bool IgnoresCase { get; init; }
}

internal sealed record FlagShape : Shape;

internal sealed record AnythingShape : Shape;

internal sealed record NumberShape(long Least, long Most) : Shape;

internal sealed record ListShape(Shape Item) : Shape;

internal sealed record MapShape(Shape Value) : Shape;

internal sealed record ObjectShape(IReadOnlyList<Field> Fields) : Shape
{
    /// <summary>Where only what is to be changed is sent.</summary>
    public ObjectShape AllOptional() => new([.. Fields.Select(field => field with { Required = false })]);
}

internal sealed record Field(string Name, Shape Shape, bool Required = false)
{
    public static Field Needed(string name, Shape shape) => new(name, shape, Required: true);

    public static Field Optional(string name, Shape shape) => new(name, shape);
}
