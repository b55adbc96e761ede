using Hypervisor.Hosting.Randomness;
using Hypervisor.Hosting.Waiting;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Node;

/// <summary>What all parts of the agent know of their node: identity, versions seen, and whether to register again.</summary>
/// <remarks>
/// A disk that takes no writes for a while costs nothing but durability: what could not be saved is kept and tried again. An
/// agent that ended over it would lose its lease, and with it the instances that still run well.
/// </remarks>
internal sealed partial class NodeState
{
    private readonly Lock _gate = new();

    /// <summary>Held while writing, which may take longer than a lease; <see cref="_gate"/>, which beats wait for, never is.</summary>
    private readonly Lock _saving = new();
    private readonly INodeIdentityStore _store;
    private readonly TimeProvider _time;
    private readonly IRandomSource _random;
    private readonly ILogger<NodeState> _logger;
    private readonly Signal _changed = new();
    private readonly Signal _registration = new();
    private NodeIdentity _identity;
    private NodeIdentity _saved;
    private ResourceVersion _applied;

    /// <exception cref="InvalidDataException">As <see cref="INodeIdentityStore.Load"/>.</exception>
    public NodeState(INodeIdentityStore store, TimeProvider time, IRandomSource random, ILogger<NodeState> logger)
    {
        (_store, _time, _random, _logger) = (store, time, random, logger);
        _identity = _saved = store.Load();
    }

    public NodeId Id => Identity.Id;

    public NodeIdentity Identity
    {
        get
        {
            lock (_gate)
            {
                return _identity;
            }
        }
    }

    /// <summary>The highest version applied since this process began.</summary>
    public ResourceVersion AppliedVersion
    {
        get
        {
            lock (_gate)
            {
                return _applied;
            }
        }
    }

    /// <summary>
    /// Chooses the id of the first registration, unless one was chosen before. Durable on return: an agent that is killed
    /// after the control plane took its node, and before it heard so, asks again as the same.
    /// </summary>
    /// <exception cref="IOException">It cannot be saved: a node that registered nevertheless could not come back as the same.</exception>
    /// <exception cref="UnauthorizedAccessException">As above.</exception>
    public void PrepareRegistration()
    {
        lock (_gate)
        {
            if (_identity.RegistrationId.Length > 0)
            {
                return;
            }

            _identity = _identity with { RegistrationId = _random.NewSecret() };
        }

        SaveIfChanged();
    }

    /// <summary>Durable on return unless the disk refuses; an agent killed before it is registers again as the same.</summary>
    public void Registered(RegisterNodeResponse response)
    {
        lock (_gate)
        {
            _identity = _identity with
            {
                NodeUid = response.Node.Metadata.Uid,
                Credential = response.Credential,
                Subnet = response.Node.Status?.Subnet ?? "",
            };
        }

        if (!TrySave())
        {
            _changed.Set();
        }
    }

    public void Applied(ResourceVersion version)
    {
        lock (_gate)
        {
            if (version <= _applied)
            {
                return;
            }

            _applied = version;
            if (version.Value > _identity.HighestResourceVersion)
            {
                _identity = _identity with { HighestResourceVersion = version.Value };
                _changed.Set();
            }
        }
    }

    public void Seen(Epoch epoch)
    {
        lock (_gate)
        {
            if (epoch.Value > _identity.HighestEpoch)
            {
                _identity = _identity with { HighestEpoch = epoch.Value };
                _changed.Set();
            }
        }
    }

    /// <summary>The control plane does not know this node or its credential any more, or the node has something new to offer.</summary>
    public void RequestRegistration() => _registration.Set();

    public Task RegistrationRequestedAsync(CancellationToken cancellationToken) => _registration.WaitAsync(cancellationToken);

    /// <summary>Saves the versions seen, not with each change: what counts after a crash is the incarnation in their upper part.</summary>
    public async Task RunAsync(CancellationToken cancellationToken)
    {
        var backoff = new Backoff(Limits.RetryMinimum, Limits.RetryMaximum, _time, _random);
        try
        {
            while (true)
            {
                await _changed.WaitAsync(cancellationToken);
                while (!TrySave())
                {
                    await backoff.WaitAsync(cancellationToken);
                }

                backoff.Reset();
                await Task.Delay(Limits.IdentitySaveInterval, _time, cancellationToken);
            }
        }
        finally
        {
            TrySave();
        }
    }

    private bool TrySave()
    {
        try
        {
            SaveIfChanged();
            return true;
        }
        catch (Exception failure) when (failure is IOException or UnauthorizedAccessException)
        {
            LogSaveFailed(failure.Message);
            return false;
        }
    }

    private void SaveIfChanged()
    {
        // One at a time: two saves at once would share the temporary file, and the older one could come last.
        lock (_saving)
        {
            var identity = Identity;
            if (identity != _saved)
            {
                _store.Save(identity);
                _saved = identity;
            }
        }
    }

    [LoggerMessage(Level = LogLevel.Error, Message = "The node's identity cannot be saved under data_dir ({Reason}); the agent goes on and tries again. Free space there or repair the disk")]
    private partial void LogSaveFailed(string reason);
}
