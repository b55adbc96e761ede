using Hypervisor.Ctl.Errors;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Ctl.Specs;

/// <summary>What a taint does, in the words that operators know from Kubernetes.</summary>
internal static class TaintEffects
{
    private static readonly (TaintEffect Effect, string Word)[] All =
    [
        (TaintEffect.NoSchedule, "no-schedule"),
        (TaintEffect.PreferNoSchedule, "prefer-no-schedule"),
        (TaintEffect.NoExecute, "no-execute"),
    ];

    public static IEnumerable<string> Words => All.Select(effect => effect.Word);

    /// <summary>As a shell offers them for the end of a taint.</summary>
    public static IEnumerable<string> Endings => All.Select(effect => $":{effect.Word}");

    /// <param name="subject">What an error begins with: the flag or the argument.</param>
    /// <exception cref="CtlException">No effect has that name.</exception>
    public static TaintEffect Parse(string subject, string text)
    {
        foreach (var (effect, word) in All)
        {
            if (word.Equals(text, StringComparison.OrdinalIgnoreCase))
            {
                return effect;
            }
        }

        throw CtlException.Usage($"{subject}: '{text}' is not one of {string.Join(", ", Words)}.");
    }

    /// <summary>The word; a number for an effect that only a newer server knows.</summary>
    public static string WordOf(TaintEffect effect)
    {
        foreach (var (known, word) in All)
        {
            if (known == effect)
            {
                return word;
            }
        }

        return effect.ToString();
    }
}
