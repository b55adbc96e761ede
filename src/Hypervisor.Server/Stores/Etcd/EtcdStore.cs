using Etcdserverpb;
using Google.Protobuf;
using Hypervisor.Server.Configuration;
using Microsoft.Extensions.Logging.Abstractions;

namespace Hypervisor.Server.Stores.Etcd;

/// <summary>
/// The store of clusters: etcd 3.4 or later, which should hold nothing else, since every key is read and watched.
/// </summary>
internal sealed class EtcdStore : IClusterStore
{
    private static readonly Version OldestVersion = new(3, 4);

    private readonly EtcdTls? _tls;
    private readonly EtcdEndpoints _endpoints;
    private readonly EtcdTokens _tokens;
    private readonly EtcdCalls _calls;
    private readonly EtcdElections _elections;
    private readonly EtcdWatch _watch;
    private readonly TimeProvider _time;
    private readonly CancellationTokenSource _closing = new();
    private int _disposed;

    private EtcdStore(EtcdConfiguration configuration, EtcdTls? tls, TimeProvider time, TimeProvider leaseTime, ILogger logger)
    {
        (_tls, _time) = (tls, time);
        _endpoints = new EtcdEndpoints(configuration, tls);
        _tokens = new EtcdTokens(configuration);
        _calls = new EtcdCalls(_endpoints, _tokens, time);
        _elections = new EtcdElections(_calls, time, leaseTime, logger);
        _watch = new EtcdWatch(_calls, WriteMarkerAsync, time, logger);
    }

    public string Kind => "etcd";

    /// <summary>Connects, and makes sure that etcd answers us and is recent enough.</summary>
    /// <param name="leaseTime">The clock of leadership, where tests need another than that of the calls.</param>
    /// <exception cref="StoreUnavailableException">It does not; the message says what to do.</exception>
    public static async Task<EtcdStore> OpenAsync(
        EtcdConfiguration configuration, TimeProvider time, ILogger<EtcdStore>? logger = null, TimeProvider? leaseTime = null)
    {
        var tls = configuration.Endpoints.Any(endpoint => endpoint.Scheme == "https") ? EtcdTls.Load(configuration) : null;
        var store = new EtcdStore(configuration, tls, time, leaseTime ?? time, logger ?? (ILogger)NullLogger.Instance);
        try
        {
            await store.CheckAsync();
            return store;
        }
        catch
        {
            await store.DisposeAsync();
            throw;
        }
    }

    public async ValueTask<long> GetRevisionAsync(CancellationToken cancellationToken)
    {
        ThrowIfDisposed();

        // Any linearizable read carries the revision; this one carries nothing else.
        var request = new RangeRequest { Key = ByteString.CopyFromUtf8(Keys.ClusterIdentity), CountOnly = true };
        var response = await _calls.ReadAsync(
            (connection, options) => connection.KVClient.RangeAsync(request, options), cancellationToken);
        return response.Header.Revision;
    }

    public async ValueTask<RangeResult> RangeAsync(RangeQuery query, CancellationToken cancellationToken)
    {
        ThrowIfDisposed();
        ArgumentOutOfRangeException.ThrowIfNegative(query.Revision);
        if (string.CompareOrdinal(query.Start, query.End) >= 0)
        {
            return new RangeResult([], query.Revision > 0 ? query.Revision : await GetRevisionAsync(cancellationToken), false);
        }

        // "" is no key for etcd, and NUL as the end would mean everything.
        var start = query.Start.Length == 0 ? "\0" : query.Start;
        List<KeyValue> items = [];
        var revision = query.Revision;
        bool more;
        do
        {
            var response = await PageAsync(
                start, query, revision, query.Limit == 0 ? Limits.Etcd.PageKeys : query.Limit - items.Count, cancellationToken);
            items.EnsureCapacity(items.Count + response.Kvs.Count);
            foreach (var item in response.Kvs)
            {
                items.Add(EtcdTranslation.ToKeyValue(item));
            }

            revision = revision == 0 ? response.Header.Revision : revision;
            more = response.More;
            start = items.Count == 0 ? start : items[^1].Key + "\0";
        }
        while (more && (query.Limit == 0 || items.Count < query.Limit));

        return new RangeResult(items, revision, more);
    }

    public async ValueTask<TransactionResult> TransactAsync(StoreTransaction transaction, CancellationToken cancellationToken)
    {
        ThrowIfDisposed();
        TransactionRules.Check(transaction);
        var request = EtcdTranslation.ToRequest(transaction);
        var response = await _calls.WriteAsync((connection, options) => connection.KVClient.TxnAsync(request, options), cancellationToken);
        return EtcdTranslation.ToResult(transaction, response, response.Header.Revision);
    }

    public async IAsyncEnumerable<ChangeBatch> WatchAsync(
        string prefix, long fromRevision, [System.Runtime.CompilerServices.EnumeratorCancellation] CancellationToken cancellationToken)
    {
        ThrowIfDisposed();
        ArgumentOutOfRangeException.ThrowIfLessThan(fromRevision, 1);
        using var linked = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, _closing.Token);
        await using var batches = _watch.ReadAsync(prefix, fromRevision, linked.Token).GetAsyncEnumerator(linked.Token);
        while (true)
        {
            try
            {
                if (!await batches.MoveNextAsync())
                {
                    yield break;
                }
            }
            catch (OperationCanceledException) when (_closing.IsCancellationRequested && !cancellationToken.IsCancellationRequested)
            {
                throw new StoreUnavailableException("The store was closed; watch again once it is open.");
            }

            yield return batches.Current;
        }
    }

    public async ValueTask CompactAsync(long revision, CancellationToken cancellationToken)
    {
        ThrowIfDisposed();
        ArgumentOutOfRangeException.ThrowIfLessThan(revision, 1);
        var request = new CompactionRequest { Revision = revision };
        try
        {
            await _calls.ReadAsync((connection, options) => connection.KVClient.CompactAsync(request, options), cancellationToken);
        }
        catch (EtcdRefusedException exception) when (exception.Kind == EtcdFailureKind.Compacted)
        {
            // As much or more is compacted already, by another replica or by the attempt before.
        }
        catch (EtcdRefusedException exception) when (exception.Kind == EtcdFailureKind.Future)
        {
            throw new ArgumentOutOfRangeException(
                nameof(revision), revision, "The store is at an earlier revision; a later one cannot be compacted.");
        }
    }

    public Task<ILeadership> CampaignAsync(string election, string candidate, TimeSpan leaseDuration, CancellationToken cancellationToken)
    {
        ThrowIfDisposed();
        return _elections.CampaignAsync(election, candidate, leaseDuration, cancellationToken);
    }

    public async ValueTask DisposeAsync()
    {
        if (Interlocked.Exchange(ref _disposed, 1) != 0)
        {
            return;
        }

        await _closing.CancelAsync();
        _endpoints.Dispose();
        _tokens.Dispose();
        _tls?.Dispose();
    }

    private async Task CheckAsync()
    {
        await GetRevisionAsync(CancellationToken.None);
        var status = await _calls.ReadAsync(
            (connection, options) => connection.MaintenanceClient.StatusAsync(new StatusRequest(), options), CancellationToken.None);
        if (Version.TryParse(status.Version.Split('-')[0], out var version) && version < OldestVersion)
        {
            throw new StoreUnavailableException($"etcd is version {status.Version}; {OldestVersion} or later is needed.");
        }
    }

    private async Task<RangeResponse> PageAsync(
        string start, RangeQuery query, long revision, int limit, CancellationToken cancellationToken)
    {
        var request = new RangeRequest
        {
            Key = ByteString.CopyFromUtf8(start),
            RangeEnd = ByteString.CopyFromUtf8(query.End),
            Revision = revision,
            Limit = Math.Min(limit, Limits.Etcd.PageKeys),
        };
        try
        {
            return await _calls.ReadAsync((connection, options) => connection.KVClient.RangeAsync(request, options), cancellationToken);
        }
        catch (EtcdRefusedException exception) when (exception.Kind == EtcdFailureKind.Compacted)
        {
            throw new RevisionCompactedException(await OldestRevisionAsync(cancellationToken));
        }
        catch (EtcdRefusedException exception) when (exception.Kind == EtcdFailureKind.Future)
        {
            throw new ArgumentOutOfRangeException(
                nameof(query), revision, "The store is at an earlier revision; a later one cannot be read yet.");
        }
    }

    /// <summary>Only a watch from before it is told which revision is the oldest.</summary>
    private async Task<long> OldestRevisionAsync(CancellationToken cancellationToken)
    {
        try
        {
            await using var stream = await EtcdWatchStream.OpenAsync(_calls, Keys.WatchMarker, "", 1, _time, cancellationToken);
            while (await stream.NextAsync(Limits.Etcd.AttemptDeadline, cancellationToken) is not null)
            {
            }

            return 1;
        }
        catch (RevisionCompactedException exception)
        {
            return exception.OldestRevision;
        }
        catch (WatchBrokenException exception)
        {
            throw exception.Failure.ToUnavailable();
        }
    }

    private async Task<long> WriteMarkerAsync(CancellationToken cancellationToken) =>
        (await TransactAsync(new StoreTransaction([], [new StoreOperation.Put(Keys.WatchMarker, default)]), cancellationToken)).Revision;

    private void ThrowIfDisposed() => ObjectDisposedException.ThrowIf(Volatile.Read(ref _disposed) != 0, this);
}
