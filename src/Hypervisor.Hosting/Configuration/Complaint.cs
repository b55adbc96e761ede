namespace Hypervisor.Hosting.Configuration;

/// <summary>Why a value was refused.</summary>
/// <param name="What">Continues a sentence that begins with the key: "is not a duration".</param>
/// <param name="Remedy">What to write instead.</param>
public sealed record Complaint(string What, string Remedy);

/// <summary>Turns text into a value, or says why it cannot.</summary>
public delegate Complaint? ValueParser<T>(string text, out T value);
