namespace Hypervisor.Hosting.Yaml;

/// <summary>A document was refused. <see cref="Errors"/> holds everything found, each "file:line: what – remedy".</summary>
public sealed class InvalidYamlException(IReadOnlyList<string> errors) : Exception(string.Join('\n', errors))
{
    public IReadOnlyList<string> Errors { get; } = errors;
}
