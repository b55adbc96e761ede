using System.Diagnostics.Metrics;
using Hypervisor.Server.Telemetry;
using OpenTelemetry;
using OpenTelemetry.Metrics;
using Xunit;

namespace Hypervisor.Tests.Server.Telemetry;

/// <summary>Protects: /metrics is what Prometheus reads: names with units, cumulative buckets, escaped labels.</summary>
public sealed class PrometheusTextTests
{
    [Fact]
    public void Counters_gauges_and_histograms_are_written_as_prometheus_reads_them()
    {
        using var meter = new Meter("prometheus-text-tests");
        using var text = new PrometheusText();
        using var provider = Sdk.CreateMeterProviderBuilder().AddMeter(meter.Name).AddReader(new BaseExportingMetricReader(text)).Build();
        var counter = meter.CreateCounter<long>("test.things", "{thing}", "Things.");
        meter.CreateObservableGauge("test.age", () => 1.5, "s", "Age.");
        var histogram = meter.CreateHistogram("test.took", "s", "Took.", advice: new InstrumentAdvice<double> { HistogramBucketBoundaries = [1, 2] });
        counter.Add(3, new KeyValuePair<string, object?>("kind", "a\"b\\c\nd"));
        histogram.Record(0.5);
        histogram.Record(1.5);
        histogram.Record(9);

        Assert.Equal(
            """
            # HELP test_things_total Things.
            # TYPE test_things_total counter
            test_things_total{kind="a\"b\\c\nd"} 3
            # HELP test_age_seconds Age.
            # TYPE test_age_seconds gauge
            test_age_seconds 1.5
            # HELP test_took_seconds Took.
            # TYPE test_took_seconds histogram
            test_took_seconds_bucket{le="1"} 1
            test_took_seconds_bucket{le="2"} 2
            test_took_seconds_bucket{le="+Inf"} 3
            test_took_seconds_sum 11
            test_took_seconds_count 3

            """,
            text.Read());
    }
}
