using System.Diagnostics.Metrics;
using Grpc.Core;

namespace Hypervisor.Server.Telemetry;

/// <summary>What the server counts and times. Costs nothing while nobody listens, as in the simulation.</summary>
internal static class ServerInstruments
{
    public const string MeterName = "Hypervisor.Server";

    private static readonly Meter Meter = new(MeterName);

    // First, since what follows is made with it. From half a millisecond, which a read takes, to ten seconds, after which everything has
    // timed out.
    private static readonly InstrumentAdvice<double> Seconds = new()
    {
        HistogramBucketBoundaries = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
    };

    private static readonly Histogram<double> Calls = Meter.CreateHistogram(
        "hypervisor.rpc.duration", "s", "Calls of the API, over gRPC and REST; streams when they end.", advice: Seconds);

    private static readonly Histogram<double> Reconciles = Meter.CreateHistogram(
        "hypervisor.reconcile.duration", "s", "Passes of the leader's controllers.", advice: Seconds);

    private static readonly Histogram<double> Commits = Meter.CreateHistogram(
        "hypervisor.store.commit.duration", "s", "Transactions of the store, from being sent to being durable.", advice: Seconds);

    private static readonly Histogram<long> Batches = Meter.CreateHistogram(
        "hypervisor.store.commit.writes", "{write}", "Independent writes that shared one transaction.",
        advice: new InstrumentAdvice<long> { HistogramBucketBoundaries = [1, 2, 4, 8, 16, 32, 64, 128] });

    private static readonly Counter<long> FailedCommits = Meter.CreateCounter<long>(
        "hypervisor.store.commit.failures", "{transaction}", "Transactions whose outcome the store did not tell.");

    /// <param name="method">As gRPC names it.</param>
    /// <param name="transport">"grpc" or "rest".</param>
    public static void Called(string method, string transport, StatusCode code, TimeSpan took) => Calls.Record(
        took.TotalSeconds, new("method", method), new("transport", transport), new("code", code.ToString()));

    public static void Committed(int writes, TimeSpan took)
    {
        Commits.Record(took.TotalSeconds);
        Batches.Record(writes);
    }

    public static void CommitFailed() => FailedCommits.Add(1);

    /// <summary>Times a pass of a controller until it is disposed.</summary>
    public static ReconcileTimer Reconciling(string controller, TimeProvider time) => new(controller, time, time.GetTimestamp());

    internal readonly struct ReconcileTimer(string controller, TimeProvider time, long started) : IDisposable
    {
        public void Dispose() => Reconciles.Record(
            time.GetElapsedTime(started).TotalSeconds, new KeyValuePair<string, object?>("controller", controller));
    }
}
