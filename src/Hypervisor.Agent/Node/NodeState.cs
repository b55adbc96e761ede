using Hypervisor.Hosting.Randomness;
using Hypervisor.Hosting.Waiting;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Node;

/// <summary>What all parts of the agent know of their node: identity, versions seen, and whether to register again.</summary>
internal sealed class NodeState
{
    private readonly Lock _gate = new();
    private readonly INodeIdentityStore _store;
    private readonly TimeProvider _time;
    private readonly Signal _changed = new();
    private readonly Signal _registration = new();
    private NodeIdentity _identity;
    private NodeIdentity _saved;
    private ResourceVersion _applied;

    /// <exception cref="InvalidDataException">As <see cref="INodeIdentityStore.Load"/>.</exception>
    public NodeState(INodeIdentityStore store, TimeProvider time)
    {
        (_store, _time) = (store, time);
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
    public void PrepareRegistration(IRandomSource random)
    {
        lock (_gate)
        {
            if (_identity.RegistrationId.Length == 0)
            {
                _identity = _identity with { RegistrationId = random.NewSecret() };
            }
        }

        SaveIfChanged();
    }

    /// <summary>Durable on return.</summary>
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

        SaveIfChanged();
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
        try
        {
            while (true)
            {
                await _changed.WaitAsync(cancellationToken);
                SaveIfChanged();
                await Task.Delay(Limits.IdentitySaveInterval, _time, cancellationToken);
            }
        }
        finally
        {
            SaveIfChanged();
        }
    }

    private void SaveIfChanged()
    {
        // Under the gate: two saves at once would share the temporary file.
        lock (_gate)
        {
            if (_identity != _saved)
            {
                _store.Save(_identity);
                _saved = _identity;
            }
        }
    }
}
