using Hypervisor.Hosting.Waiting;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Instances;

/// <summary>What became of a wish.</summary>
internal enum Acceptance
{
    Taken,

    /// <summary>Something newer is known; nothing changes.</summary>
    Older,

    /// <summary>This runner has ended.</summary>
    Retired,
}

/// <summary>
/// What others tell a <see cref="Runner"/> and ask of it, at any moment and from any thread: the latest assignment, the highest
/// tombstone, "something may have changed", and what was seen last. A wish that makes an action pointless interrupts it.
/// </summary>
internal sealed class RunnerMailbox(Observation observed)
{
    private readonly Lock _gate = new();
    private readonly Signal _signal = new();
    private Observation _observed = observed;
    private Assignment? _desired;
    private Epoch _removeUpTo;
    private InstanceType _removedType;
    private bool _hinted;
    private bool _retired;
    private RunnerAction _underWay;
    private CancellationTokenSource? _interrupt;

    /// <summary>What is wanted of this node, or none.</summary>
    public Assignment? Desired
    {
        get
        {
            lock (_gate)
            {
                return _desired;
            }
        }
    }

    /// <summary>What was seen last: may be older than the last hint.</summary>
    public Observation Observed
    {
        get
        {
            lock (_gate)
            {
                return _observed;
            }
        }

        set
        {
            lock (_gate)
            {
                _observed = value;
            }
        }
    }

    /// <summary>Of the instance, as far as a wish told.</summary>
    public InstanceType Type
    {
        get
        {
            lock (_gate)
            {
                return _desired?.Spec.Type ?? _removedType;
            }
        }
    }

    /// <inheritdoc cref="Runner.Assign"/>
    public Acceptance Assign(Assignment assignment)
    {
        CancellationTokenSource? interrupted = null;
        lock (_gate)
        {
            if (_retired)
            {
                return Acceptance.Retired;
            }

            if (assignment.Epoch <= _removeUpTo.Value || (_desired is { } known && IsOlder(assignment, known)))
            {
                return Acceptance.Older;
            }

            var before = _desired;
            _desired = assignment;
            if (before is not null && Obsoletes(before, assignment))
            {
                interrupted = _interrupt;
            }
        }

        interrupted?.Cancel();
        _signal.Set();
        return Acceptance.Taken;
    }

    /// <inheritdoc cref="Runner.Unassign"/>
    public void Unassign()
    {
        CancellationTokenSource? interrupted;
        lock (_gate)
        {
            _desired = null;
            interrupted = _interrupt;
        }

        interrupted?.Cancel();
        _signal.Set();
    }

    /// <inheritdoc cref="Runner.Remove"/>
    public Acceptance Remove(Epoch upTo, InstanceType type)
    {
        CancellationTokenSource? interrupted = null;
        lock (_gate)
        {
            if (_retired)
            {
                return Acceptance.Retired;
            }

            if (upTo <= _removeUpTo)
            {
                return Acceptance.Older;
            }

            _removeUpTo = upTo;
            _removedType = type;
            if (_desired is null || _desired.Epoch <= upTo.Value)
            {
                _desired = null;
                interrupted = _underWay == RunnerAction.Remove ? null : _interrupt;
            }
        }

        interrupted?.Cancel();
        _signal.Set();
        return Acceptance.Taken;
    }

    /// <inheritdoc cref="Runner.Hint"/>
    public void Hint()
    {
        lock (_gate)
        {
            if (_interrupt is not null && _underWay == RunnerAction.Create)
            {
                // The runtime tells of our own doing; looking would only delay the start that follows.
                return;
            }

            _hinted = true;
        }

        _signal.Set();
    }

    /// <summary>Its runner looks again: nothing of what was told changed, but for the time or the health.</summary>
    public void Wake() => _signal.Set();

    /// <summary>Until something is told, or <see cref="Wake"/>.</summary>
    public Task WaitAsync(CancellationToken cancellationToken) => _signal.WaitAsync(cancellationToken);

    /// <summary>What a decision needs of all this, at one moment; a hint is spent by it.</summary>
    public RunnerWishes Take()
    {
        lock (_gate)
        {
            if (_hinted)
            {
                _hinted = false;
                _observed = Observation.Unknown;
            }

            return new RunnerWishes(_desired, _removeUpTo, _removedType, _observed);
        }
    }

    /// <summary>The same without a hint being spent; null while nobody knows what the runtime holds now.</summary>
    public RunnerWishes? Peek()
    {
        lock (_gate)
        {
            return _hinted || _observed.Knowledge == Knowledge.Unknown ? null : new RunnerWishes(_desired, _removeUpTo, _removedType, _observed);
        }
    }

    /// <summary>An action begins on the strength of what was taken. False when that has changed meanwhile: decide again.</summary>
    public bool TryBegin(RunnerAction action, RunnerView view, CancellationTokenSource interrupt)
    {
        lock (_gate)
        {
            _underWay = action;
            if (!ReferenceEquals(_desired, view.Desired) || _removeUpTo != view.RemoveUpTo)
            {
                return false;
            }

            _interrupt = interrupt;
            return true;
        }
    }

    /// <summary>The action has ended, and nothing can interrupt it any more.</summary>
    public void End()
    {
        lock (_gate)
        {
            _interrupt = null;
        }
    }

    /// <summary>The removal up to this epoch is complete.</summary>
    public void Removed(Epoch epoch)
    {
        lock (_gate)
        {
            // A higher tombstone may have arrived since the decision.
            if (_removeUpTo == epoch)
            {
                _removeUpTo = Epoch.None;
            }
        }
    }

    /// <summary>Nothing is wanted any more, and from now on nothing is taken.</summary>
    public bool TryRetire()
    {
        lock (_gate)
        {
            _retired = _desired is null && _removeUpTo == Epoch.None;
            return _retired;
        }
    }

    /// <summary>
    /// An epoch never goes back, nor a generation within an epoch. The same generation may come again with another content:
    /// labels do not count as desired state.
    /// </summary>
    private static bool IsOlder(Assignment offered, Assignment known) =>
        offered.Epoch < known.Epoch || (offered.Epoch == known.Epoch && offered.Generation < known.Generation);

    /// <summary>What is under way for the one is not worth finishing for the other.</summary>
    private static bool Obsoletes(Assignment before, Assignment after) =>
        before.Epoch != after.Epoch
        || before.Spec.DesiredState != after.Spec.DesiredState
        || before.Spec.RestartGeneration != after.Spec.RestartGeneration;
}

/// <param name="RemovedType">With <paramref name="RemoveUpTo"/>: whose driver holds it; unspecified when the tombstone does not say.</param>
internal readonly record struct RunnerWishes(Assignment? Desired, Epoch RemoveUpTo, InstanceType RemovedType, Observation Observed);
