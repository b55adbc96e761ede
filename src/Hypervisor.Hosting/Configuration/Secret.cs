namespace Hypervisor.Hosting.Configuration;

/// <summary>A value that must not be printed: what formats or logs it sees only that there is one.</summary>
public readonly struct Secret(string value)
{
    private readonly string? _value = value;

    /// <summary>None was configured.</summary>
    public bool IsEmpty => string.IsNullOrEmpty(_value);

    /// <summary>The value itself, for the one place that presents it.</summary>
    public string Reveal() => _value ?? "";

    public override string ToString() => IsEmpty ? "(none)" : "(hidden)";
}
