using System.Globalization;
using Grpc.Core;
using Hypervisor.Protocol.V1;
using Hypervisor.TestCluster;

namespace Hypervisor.Bench.Scheduling;

/// <summary>Small instances of ten shapes through bulk create, named by their number.</summary>
internal sealed class BulkLoad(ComputeService.ComputeServiceClient compute, string prefix)
{
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(2);
    private static readonly TimeSpan Retry = TimeSpan.FromMilliseconds(100);

    private long _bound;
    private long _repeated;

    /// <summary>Instances that had a node when their create was answered.</summary>
    public long Bound => Interlocked.Read(ref _bound);

    /// <summary>Creates that an overloaded server or store did not take, and that were asked for again.</summary>
    public long Repeated => Interlocked.Read(ref _repeated);

    /// <summary>Repeats what is not taken for now, as clients do, with the same request_id.</summary>
    /// <returns>Those that had no node yet.</returns>
    /// <exception cref="InvalidOperationException">One was refused for good.</exception>
    public async Task<IReadOnlyList<string>> CreateAsync(int first, int count, CancellationToken cancellationToken)
    {
        using var late = new CancellationTokenSource(Patience, RealTime.Clock);
        using var linked = CancellationTokenSource.CreateLinkedTokenSource(late.Token, cancellationToken);
        List<CreateInstanceRequest> left = [.. Enumerable.Range(first, count).Select(Request)];
        List<string> waiting = [];
        while (true)
        {
            var request = new CreateInstancesRequest();
            request.Requests.Add(left);
            var answer = await compute.CreateInstancesAsync(request, cancellationToken: linked.Token);
            var results = left.Zip(answer.Results).ToList();
            if (results.FirstOrDefault(pair => pair.Second.Error is { } error && !Passes(error)) is { Second.Error: { } refused })
            {
                throw new InvalidOperationException($"An instance was refused: {refused.Message}");
            }

            var unbound = results.Where(pair => pair.Second.Instance is { Placement: not { NodeUid.Length: > 0 } }).Select(pair => pair.First.Name).ToList();
            waiting.AddRange(unbound);
            left = [.. results.Where(pair => pair.Second.Error is not null).Select(pair => pair.First)];
            Interlocked.Add(ref _bound, results.Count - unbound.Count - left.Count);
            if (left.Count == 0)
            {
                return waiting;
            }

            Interlocked.Add(ref _repeated, left.Count);
            await Task.Delay(Retry, RealTime.Clock, linked.Token);
        }
    }

    private static bool Passes(OperationError error) =>
        (StatusCode)error.Code is StatusCode.Unavailable or StatusCode.ResourceExhausted or StatusCode.Aborted or StatusCode.DeadlineExceeded or StatusCode.Unknown;

    /// <summary>All of them, several calls at a time.</summary>
    public async Task CreateAllAsync(int count, int perCall, int callsAtOnce, CancellationToken cancellationToken)
    {
        await Parallel.ForEachAsync(
            Enumerable.Range(0, (count + perCall - 1) / perCall),
            new ParallelOptions { MaxDegreeOfParallelism = callsAtOnce, CancellationToken = cancellationToken },
            async (call, stopping) => await CreateAsync(call * perCall, Math.Min(perCall, count - (call * perCall)), stopping));
    }

    private CreateInstanceRequest Request(int number) => new()
    {
        Name = string.Create(CultureInfo.InvariantCulture, $"{prefix}-{number:D7}"),
        RequestId = string.Create(CultureInfo.InvariantCulture, $"{prefix}-{number:D7}"),
        Labels = { ["app"] = string.Create(CultureInfo.InvariantCulture, $"a{number % 10}") },
        Spec = new()
        {
            Type = InstanceType.Container,
            Image = "busybox",
            Resources = new() { CpuMillicores = 50 + (10 * (number % 10)), MemoryBytes = (32L + (16 * (number % 10))) << 20 },
            Constraints = new() { Strategy = PlacementStrategy.Binpack },
        },
    };
}
