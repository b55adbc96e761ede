namespace Hypervisor.Server.Images;

/// <summary>"sha256:" and 64 lower-case hexadecimal digits; the only algorithm in use. Never anything else, so it is safe in a path.</summary>
internal readonly record struct ImageDigest
{
    private const string Prefix = "sha256:";

    private ImageDigest(string value) => Value = value;

    public string Value { get; }

    public string Hex => Value[Prefix.Length..];

    public static ImageDigest Of(ReadOnlySpan<byte> hash) => new(Prefix + Convert.ToHexStringLower(hash));

    public static bool TryParse(string? text, out ImageDigest digest)
    {
        digest = default;
        if (text is null || text.Length != Prefix.Length + 64 || !text.StartsWith(Prefix, StringComparison.Ordinal))
        {
            return false;
        }

        foreach (var character in text.AsSpan(Prefix.Length))
        {
            if (!char.IsAsciiHexDigitLower(character))
            {
                return false;
            }
        }

        digest = new(text);
        return true;
    }

    public override string ToString() => Value;
}
