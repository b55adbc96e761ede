using Grpc.Core;
using Hypervisor.Agent.Drivers.Fake;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Simulation.Checks;

/// <summary>
/// What was asked for and what happened, kept outside of the product, and the invariants over both. Each violation names its
/// invariant.
/// </summary>
internal sealed class Ledger
{
    private readonly Dictionary<string, string> _uidOfRequest = new(StringComparer.Ordinal);
    private readonly Dictionary<string, string> _created = new(StringComparer.Ordinal);
    private readonly HashSet<string> _deleteAsked = new(StringComparer.Ordinal);
    private readonly HashSet<string> _stopAsked = new(StringComparer.Ordinal);
    private readonly Dictionary<string, string> _nameOfUid = new(StringComparer.Ordinal);
    private readonly Dictionary<string, (string Host, long Epoch)> _running = new(StringComparer.Ordinal);

    private readonly Dictionary<string, long> _ended = new(StringComparer.Ordinal);
    private readonly Dictionary<string, long> _epochs = new(StringComparer.Ordinal);

    public List<string> Violations { get; } = [];

    public long Effects { get; private set; }

    /// <summary>Instances whose creation was acknowledged and whose deletion was never asked for, uid by name.</summary>
    public IReadOnlyDictionary<string, string> MustExist => _created
        .Where(pair => !_deleteAsked.Contains(pair.Key)).ToDictionary(StringComparer.Ordinal);

    public void Created(string requestId, Instance instance)
    {
        var (name, uid) = (instance.Metadata.Name, instance.Metadata.Uid);
        if (_uidOfRequest.TryGetValue(requestId, out var before) && before != uid)
        {
            Violations.Add($"IdempotentOnce: request {requestId} made {before} and {uid}");
        }

        _uidOfRequest[requestId] = uid;
        _created[name] = uid;
    }

    /// <summary>An answer that a correct server never gives to a repeated request.</summary>
    public void Refused(string requestId, string answer) => Violations.Add($"IdempotentOnce: request {requestId} was answered {answer}");

    /// <summary>A refusal of what nothing speaks against: the instance was acknowledged and nobody deleted it.</summary>
    public void Refused(string what, string name, Status answer) =>
        Violations.Add($"{(answer.StatusCode == StatusCode.NotFound ? "Durable" : "IdempotentOnce")}: {what} {name} was answered {answer}");

    public void DeleteAsked(string name) => _deleteAsked.Add(name);

    public void StopAsked(string name) => _stopAsked.Add(name);

    /// <summary>Whether its process ended by itself and nothing was started since.</summary>
    public bool HasEnded(string uid) => _ended.ContainsKey(uid);

    /// <summary>Each change of a machine's runtime, as it happens.</summary>
    public void Effect(string host, FakeEffect effect)
    {
        Effects++;
        var uid = effect.Id.Value;
        if (effect.After is { } after)
        {
            _nameOfUid[uid] = after.Name;
        }

        var name = _nameOfUid.GetValueOrDefault(uid, uid);
        if (effect.Epoch.Value < _epochs.GetValueOrDefault(uid))
        {
            Violations.Add($"EpochMonotonic: {effect.What} of {name} on {host} under epoch {effect.Epoch.Value} after {_epochs[uid]}");
        }

        _epochs[uid] = effect.Epoch.Value;
        switch (effect.What)
        {
            case "start":
                if (_ended.TryGetValue(uid, out var ended) && effect.After!.RestartGeneration <= ended)
                {
                    Violations.Add($"IdempotentOnce: {name} ended by itself and is started again on {host}, which nobody asked for");
                }

                _ended.Remove(uid);
                if (_running.TryGetValue(uid, out var other) && other.Host != host)
                {
                    Violations.Add($"SingleWriter: {name} starts on {host} while it runs on {other.Host}");
                }

                _running[uid] = (host, effect.Epoch.Value);
                break;
            case "stop" or "exit":
                if (effect.What == "stop" && !_stopAsked.Contains(name) && !_deleteAsked.Contains(name))
                {
                    Violations.Add($"NoGhostKill: {name} is stopped on {host} and nobody asked for it");
                }

                if (effect.What == "exit")
                {
                    _ended[uid] = effect.After!.RestartGeneration;
                }

                _running.Remove(uid);
                break;
            case "reboot":
                _running.Remove(uid);
                break;
            case "remove":
                if (!_deleteAsked.Contains(name))
                {
                    Violations.Add($"NoGhostKill: {name} is removed from {host} and nobody asked for it");
                }

                _running.Remove(uid);
                break;
        }
    }

    /// <summary>After everything has settled: the list against what was acknowledged, and the machines against the list.</summary>
    public void Compare(IReadOnlyList<Instance> list, IEnumerable<(string Host, string Uid)> held)
    {
        var listed = list.ToDictionary(instance => instance.Metadata.Name, StringComparer.Ordinal);
        foreach (var (name, uid) in MustExist)
        {
            if (!listed.TryGetValue(name, out var instance) || instance.Metadata.Uid != uid)
            {
                Violations.Add($"Durable: {name} ({uid}) was acknowledged and is gone");
            }
        }

        var placed = list.Select(instance => (Host: instance.Placement.Node, instance.Metadata.Uid)).ToHashSet();
        foreach (var holding in held.Where(holding => !placed.Contains(holding)))
        {
            Violations.Add($"NoOrphans: {holding.Host} holds {_nameOfUid.GetValueOrDefault(holding.Uid, holding.Uid)}, which is not placed there");
        }
    }
}
