using System.Globalization;
using System.Text;
using OpenTelemetry;
using OpenTelemetry.Metrics;

namespace Hypervisor.Server.Telemetry;

/// <summary>
/// OpenTelemetry's metrics in Prometheus' text format 0.0.4, written when asked for. The exporter that OpenTelemetry has for this is
/// not a stable release.
/// </summary>
[ExportModes(ExportModes.Pull)]
internal sealed class PrometheusText : BaseExporter<Metric>, IPullMetricExporter
{
    /// <summary>How long collecting may take: gauges read memory only.</summary>
    private const int CollectMilliseconds = 5000;

    private readonly Lock _lock = new();
    private string _text = "";

    public Func<int, bool>? Collect { get; set; }

    /// <summary>The present figures; one reader at a time.</summary>
    public string Read()
    {
        lock (_lock)
        {
            _text = "";
            Collect?.Invoke(CollectMilliseconds);
            return _text;
        }
    }

    public override ExportResult Export(in Batch<Metric> batch)
    {
        var text = new StringBuilder();
        var described = new HashSet<string>(StringComparer.Ordinal);
        foreach (var metric in batch)
        {
            Write(text, metric, described);
        }

        _text = text.ToString();
        return ExportResult.Success;
    }

    private static void Write(StringBuilder text, Metric metric, HashSet<string> described)
    {
        var counts = metric.MetricType is MetricType.LongSum or MetricType.DoubleSum;
        var name = NameOf(metric.Name, metric.Unit, counts);
        var type = metric.MetricType == MetricType.Histogram ? "histogram" : counts ? "counter" : "gauge";
        if (described.Add(name))
        {
            text.Append("# HELP ").Append(name).Append(' ').Append(metric.Description.Replace("\\", "\\\\", StringComparison.Ordinal).Replace("\n", "\\n", StringComparison.Ordinal))
                .Append("\n# TYPE ").Append(name).Append(' ').Append(type).Append('\n');
        }

        foreach (ref readonly var point in metric.GetMetricPoints())
        {
            var labels = Labels(point.Tags);
            switch (metric.MetricType)
            {
                case MetricType.Histogram:
                    Histogram(text, name, labels, point);
                    break;
                case MetricType.LongSum:
                    Line(text, name, labels, point.GetSumLong());
                    break;
                case MetricType.DoubleSum:
                    Line(text, name, labels, point.GetSumDouble());
                    break;
                case MetricType.LongGauge or MetricType.LongSumNonMonotonic:
                    Line(text, name, labels, metric.MetricType == MetricType.LongGauge ? point.GetGaugeLastValueLong() : point.GetSumLong());
                    break;
                case MetricType.DoubleGauge or MetricType.DoubleSumNonMonotonic:
                    Line(text, name, labels, metric.MetricType == MetricType.DoubleGauge ? point.GetGaugeLastValueDouble() : point.GetSumDouble());
                    break;
            }
        }
    }

    private static void Histogram(StringBuilder text, string name, string labels, in MetricPoint point)
    {
        var below = 0L;
        foreach (var bucket in point.GetHistogramBuckets())
        {
            below += bucket.BucketCount;
            var bound = double.IsPositiveInfinity(bucket.ExplicitBound) ? "+Inf" : bucket.ExplicitBound.ToString(CultureInfo.InvariantCulture);
            Line(text, name + "_bucket", labels.Length == 0 ? $"le=\"{bound}\"" : $"{labels},le=\"{bound}\"", below);
        }

        Line(text, name + "_sum", labels, point.GetHistogramSum());
        Line(text, name + "_count", labels, point.GetHistogramCount());
    }

    private static void Line(StringBuilder text, string name, string labels, double value)
    {
        text.Append(name);
        if (labels.Length > 0)
        {
            text.Append('{').Append(labels).Append('}');
        }

        text.Append(' ').Append(value.ToString(CultureInfo.InvariantCulture)).Append('\n');
    }

    /// <summary>The unit in the name, as Prometheus' users expect it; annotations such as "{write}" are none.</summary>
    private static string NameOf(string name, string unit, bool counts)
    {
        var plain = name.Replace('.', '_');
        return (unit, counts) switch
        {
            ("s", true) => $"{plain}_seconds_total",
            ("s", false) => $"{plain}_seconds",
            ("By", _) => $"{plain}_bytes",
            (_, true) => $"{plain}_total",
            _ => plain,
        };
    }

    private static string Labels(ReadOnlyTagCollection tags)
    {
        var labels = new StringBuilder();
        foreach (var (key, value) in tags)
        {
            labels.Append(labels.Length == 0 ? "" : ",").Append(key.Replace('.', '_')).Append("=\"");
            foreach (var character in value?.ToString() ?? "")
            {
                labels.Append(character switch { '\\' => "\\\\", '"' => "\\\"", '\n' => "\\n", _ => character.ToString() });
            }

            labels.Append('"');
        }

        return labels.ToString();
    }
}
