namespace Hypervisor.Hosting.Configuration;

/// <summary>
/// A configuration was refused. <see cref="Errors"/> holds everything found, each
/// "file:line: key: what is wrong (value) – remedy"; for a value from the environment the variable stands in place of the file.
/// </summary>
public sealed class ConfigurationException(IReadOnlyList<string> errors) : Exception(string.Join('\n', errors))
{
    public IReadOnlyList<string> Errors { get; } = errors;
}
