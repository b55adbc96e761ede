using System.Globalization;
using System.Text;

namespace Hypervisor.Agent.Telemetry;

/// <summary>
/// What the agent counts and times, in Prometheus' text format 0.0.4. By hand: an OpenTelemetry SDK would be a fifth of the memory that
/// the agent may have, for a handful of series.
/// </summary>
internal sealed class AgentMetrics
{
    // From a metadata call of a runtime to a stop with the usual grace period.
    private static readonly double[] Bounds = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];

    private readonly Lock _gate = new();
    private readonly SortedDictionary<string, Histogram> _calls = new(StringComparer.Ordinal);
    private readonly SortedDictionary<string, long> _checks = new(StringComparer.Ordinal);
    private readonly List<(string Name, string Type, string Help, Func<double> Read)> _gauges = [];

    /// <param name="driver">As the node shows it.</param>
    /// <param name="call">"start", "list", ...: one of few.</param>
    /// <param name="outcome">"ok", "failed" (worth another attempt), "refused" (not) or "cancelled".</param>
    public void Called(string driver, string call, string outcome, TimeSpan took)
    {
        var labels = $"driver=\"{driver}\",call=\"{call}\",outcome=\"{outcome}\"";
        lock (_gate)
        {
            if (!_calls.TryGetValue(labels, out var histogram))
            {
                _calls.Add(labels, histogram = new Histogram());
            }

            histogram.Add(took.TotalSeconds);
        }
    }

    /// <param name="kind">"http", "tcp" or "exec".</param>
    /// <param name="succeeded">Null when the instance could not be asked.</param>
    public void Checked(string kind, bool? succeeded)
    {
        var labels = $"kind=\"{kind}\",outcome=\"{(succeeded switch { true => "ok", false => "failed", null => "unasked" })}\"";
        lock (_gate)
        {
            _checks[labels] = _checks.GetValueOrDefault(labels) + 1;
        }
    }

    /// <param name="type">"gauge" or "counter".</param>
    /// <param name="read">Called when somebody asks.</param>
    public void Read(string name, string type, string help, Func<double> read)
    {
        lock (_gate)
        {
            _gauges.Add((name, type, help, read));
        }
    }

    public string Write()
    {
        var text = new StringBuilder();
        lock (_gate)
        {
            const string Calls = "hypervisor_agent_driver_call_duration_seconds";
            Describe(text, Calls, "histogram", "Calls of drivers by runtime, call and outcome.");
            foreach (var (labels, histogram) in _calls)
            {
                histogram.Write(text, Calls, labels);
            }

            const string Checks = "hypervisor_agent_health_checks_total";
            Describe(text, Checks, "counter", "Health checks by kind and outcome.");
            foreach (var (labels, count) in _checks)
            {
                Line(text, Checks, labels, count);
            }

            foreach (var (name, type, help, read) in _gauges)
            {
                Describe(text, name, type, help);
                Line(text, name, "", read());
            }
        }

        return text.ToString();
    }

    private static void Describe(StringBuilder text, string name, string type, string help) =>
        text.Append("# HELP ").Append(name).Append(' ').Append(help).Append("\n# TYPE ").Append(name).Append(' ').Append(type).Append('\n');

    private static void Line(StringBuilder text, string name, string labels, double value)
    {
        text.Append(name);
        if (labels.Length > 0)
        {
            text.Append('{').Append(labels).Append('}');
        }

        text.Append(' ').Append(value.ToString("R", CultureInfo.InvariantCulture)).Append('\n');
    }

    private sealed class Histogram
    {
        private readonly long[] _counts = new long[Bounds.Length + 1];
        private double _sum;

        public void Add(double seconds)
        {
            var bucket = Array.BinarySearch(Bounds, seconds);
            _counts[bucket < 0 ? ~bucket : bucket]++;
            _sum += seconds;
        }

        public void Write(StringBuilder text, string name, string labels)
        {
            var below = 0L;
            for (var bucket = 0; bucket < _counts.Length; bucket++)
            {
                below += _counts[bucket];
                var bound = bucket == Bounds.Length ? "+Inf" : Bounds[bucket].ToString("R", CultureInfo.InvariantCulture);
                Line(text, name + "_bucket", $"{labels},le=\"{bound}\"", below);
            }

            Line(text, name + "_sum", labels, _sum);
            Line(text, name + "_count", labels, below);
        }
    }
}
