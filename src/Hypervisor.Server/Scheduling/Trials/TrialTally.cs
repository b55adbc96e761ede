using Hypervisor.Protocol.V1;

namespace Hypervisor.Server.Scheduling.Trials;

/// <summary>What became of many instances: counted, with a few named.</summary>
internal sealed class TrialTally
{
    private const int MaxExamples = 10;
    private const int MaxRefusals = 16;

    private readonly WhatIfOutcome _outcome = new();
    private readonly Dictionary<(string Reason, string Message), WhatIfRefusal> _refusals = [];

    /// <param name="name">Asked for only when it is to be shown.</param>
    /// <param name="why">Null for one that has a node.</param>
    public void Count(Func<string> name, TrialRefusal? why, string node)
    {
        _outcome.Instances++;
        if (why is not null)
        {
            Refuse(name, why);
            return;
        }

        _outcome.Fitting++;
        if (_outcome.Examples.Count < MaxExamples)
        {
            _outcome.Examples.Add(new WhatIfPlace { Instance = name(), Node = node });
        }
    }

    public WhatIfOutcome ToMessage()
    {
        // A stable sort: the first to be refused comes first among equals.
        _outcome.Refusals.AddRange(_refusals.Values.OrderByDescending(refusal => refusal.Instances));
        return _outcome;
    }

    private void Refuse(Func<string> name, TrialRefusal why)
    {
        if (_refusals.Count >= MaxRefusals - 1 && !_refusals.ContainsKey((why.Reason, why.Message)))
        {
            why = TrialRefusal.NotLookedInto;
        }

        if (!_refusals.TryGetValue((why.Reason, why.Message), out var known))
        {
            _refusals.Add((why.Reason, why.Message), known = new() { Reason = why.Reason, Message = why.Message, Remedies = { why.Remedies } });
        }

        known.Instances++;
        if (known.Examples.Count < MaxExamples)
        {
            known.Examples.Add(name());
        }
    }
}
